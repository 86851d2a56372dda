// The usual job of a program on the JavaScript SDK. The endpoint and the keys come from the environment.
// Arguments: bucket, a large file, a name for its download, keys. Prints JSON.
import { createReadStream, createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  S3Client,
  paginateListObjectsV2,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const [Bucket, large, down, ...keys] = process.argv.slice(2);
const client = new S3Client({ endpoint: process.env.S3_ENDPOINT, forcePathStyle: true });

function check(holds, what) {
  if (!holds) throw new Error(what);
}

await client.send(new CreateBucketCommand({ Bucket }));
for (const Key of keys) {
  const content = `content of ${Key}`;
  await client.send(new PutObjectCommand({ Bucket, Key, Body: content, Metadata: { by: "js" } }));
  const source = [Bucket, ...Key.split("/")].map(encodeURIComponent).join("/");
  await client.send(new CopyObjectCommand({ Bucket, Key: `copied/${Key}`, CopySource: source }));
  const got = await client.send(new GetObjectCommand({ Bucket, Key: `copied/${Key}` }));
  check((await got.Body.transformToString()) === content && got.Metadata.by === "js", Key);
  const url = await getSignedUrl(client, new GetObjectCommand({ Bucket, Key }));
  check((await (await fetch(url)).text()) === content, `presigned ${Key}`);
}
let listed = 0;
for await (const page of paginateListObjectsV2({ client, pageSize: 3 }, { Bucket })) {
  listed += page.Contents.length;
}
const gone = { Objects: keys.map((Key) => ({ Key })) };
const deleted = (await client.send(new DeleteObjectsCommand({ Bucket, Delete: gone }))).Deleted.length;
const body = createReadStream(large);
await new Upload({ client, params: { Bucket, Key: "large", Body: body }, partSize: 5 << 20 }).done();
const answer = await client.send(new GetObjectCommand({ Bucket, Key: "large" }));
await pipeline(answer.Body, createWriteStream(down));
const head = client.send(new HeadObjectCommand({ Bucket, Key: "nothing" }));
const missing = await head.then(() => "there", (error) => error.name);
console.log(JSON.stringify({ listed, deleted, missing }));
