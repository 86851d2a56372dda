// The JavaScript SDK as its users have it: presigned URLs and copies by its defaults.
// Arguments: an operation and JSON. Prints JSON. Endpoint and credentials come from the environment.
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const client = new S3Client({ endpoint: process.env.S3_ENDPOINT });
const [operation, json] = process.argv.slice(2);
const place = JSON.parse(json);

const operations = {
  presignPut: () => getSignedUrl(client, new PutObjectCommand(place)),
  presignGet: () => getSignedUrl(client, new GetObjectCommand(place)),
  put: async () => (await client.send(new PutObjectCommand(place))).ETag,
  get: async () => (await client.send(new GetObjectCommand(place))).Body.transformToString(),
  // The SDK sends CopySource as it is: encoding it is its user's.
  copy: async () => (await client.send(new CopyObjectCommand(place))).CopyObjectResult.ETag,
  remove: async () => (await client.send(new DeleteObjectCommand(place))).$metadata.httpStatusCode,
  // What a download manager does: fetch with Range and If-Range.
  resume: async () => {
    const answer = await fetch(place.url, { headers: { Range: place.range, "If-Range": place.etag } });
    return { status: answer.status, text: await answer.text() };
  },
  upload: async () => {
    const answer = await fetch(place.url, { method: "PUT", body: place.body });
    return { status: answer.status, text: await answer.text() };
  },
};

console.log(JSON.stringify(await operations[operation]()));
