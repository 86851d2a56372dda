// Pages of several origins that write and read by presigned URLs, in a browser's XMLHttpRequest, which
// asks by preflight and hides answers that are not allowed (jsdom).
// Arguments: bucket, JSON of host names. Prints JSON of what each page saw.
import { JSDOM, ResourceLoader, VirtualConsole } from "jsdom";
import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const [Bucket, names] = process.argv.slice(2);
const client = new S3Client({ endpoint: process.env.S3_ENDPOINT, forcePathStyle: true });
const putUrl = await getSignedUrl(client, new PutObjectCommand({ Bucket, Key: "page" }));
const getUrl = await getSignedUrl(client, new GetObjectCommand({ Bucket, Key: "page" }));

function send(window, method, url, body) {
  return new Promise((resolve) => {
    const request = new window.XMLHttpRequest();
    request.open(method, url);
    if (body) request.setRequestHeader("Content-Type", "text/x-page");
    request.onload = () => resolve(request);
    request.onerror = () => resolve(null);
    request.send(body);
  });
}

const seen = {};
for (const name of JSON.parse(names)) {
  // What the browser trusts is the machine's matter, and tested by the other scripts.
  const resources = new ResourceLoader({ strictSSL: false });
  const options = { url: `https://${name}/`, resources, virtualConsole: new VirtualConsole() };
  const { window } = new JSDOM("", options);
  const put = await send(window, "PUT", putUrl, "from a page");
  const get = await send(window, "GET", getUrl);
  seen[name] = put
    ? { put: put.status, etag: put.getResponseHeader("ETag"), text: get.responseText }
    : { put: "blocked", get: get ? get.responseText : "blocked" };
  window.close();
}
console.log(JSON.stringify(seen));
