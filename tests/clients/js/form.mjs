// A page's form, made by minio-js and sent as a browser sends it. Argument: bucket. Prints JSON.
import { Client } from "minio";

const [bucket] = process.argv.slice(2);
const place = new URL(process.env.S3_ENDPOINT);
const client = new Client({
  endPoint: place.hostname,
  port: Number(place.port),
  useSSL: place.protocol === "https:",
  accessKey: process.env.AWS_ACCESS_KEY_ID,
  secretKey: process.env.AWS_SECRET_ACCESS_KEY,
});

const policy = client.newPostPolicy();
policy.setBucket(bucket);
policy.setKeyStartsWith("uploads/");
policy.setContentType("text/plain");
policy.setContentLengthRange(1, 1000);
policy.setExpires(new Date(Date.now() + 600_000));
const { postURL, formData } = await client.presignedPostPolicy(policy);

async function post(changes, content) {
  const form = new FormData();
  const fields = { ...formData, key: "uploads/ä + b", ...changes };
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append("file", new Blob([content]), "file name.txt");
  return (await fetch(postURL, { method: "POST", body: form })).status;
}

const posted = await post({}, "from a form");
const elsewhere = await post({ key: "private" }, "x");
const tooLarge = await post({}, "x".repeat(1001));
const otherType = await post({ "Content-Type": "text/html" }, "x");
console.log(JSON.stringify({ posted, elsewhere, tooLarge, otherType }));
