import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.Delete;
import software.amazon.awssdk.services.s3.model.GetObjectRequest;
import software.amazon.awssdk.services.s3.model.NoSuchKeyException;
import software.amazon.awssdk.services.s3.model.ObjectIdentifier;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;
import software.amazon.awssdk.services.s3.S3Configuration;
import software.amazon.awssdk.transfer.s3.S3TransferManager;

/**
 * The usual job of a program that is built on the AWS SDK for Java 2.
 *
 * <p>Arguments: endpoint, bucket, a large file, a name for its download, keys.
 */
public final class Usual {
    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new IllegalStateException(what);
        }
    }

    public static void main(String[] arguments) throws Exception {
        URI endpoint = URI.create(arguments[0]);
        String bucket = arguments[1];
        List<String> keys = List.of(arguments).subList(4, arguments.length);
        try (S3Client s3 = S3Client.builder().endpointOverride(endpoint).forcePathStyle(true).build();
                S3Presigner presigner =
                        S3Presigner.builder()
                                .endpointOverride(endpoint)
                                .serviceConfiguration(
                                        S3Configuration.builder().pathStyleAccessEnabled(true).build())
                                .build()) {
            s3.createBucket(request -> request.bucket(bucket));
            List<ObjectIdentifier> gone = new ArrayList<>();
            for (String key : keys) {
                String content = "content of " + key;
                s3.putObject(
                        request -> request.bucket(bucket).key(key).metadata(Map.of("by", "java")),
                        RequestBody.fromString(content));
                s3.copyObject(
                        request ->
                                request.sourceBucket(bucket)
                                        .sourceKey(key)
                                        .destinationBucket(bucket)
                                        .destinationKey("copied/" + key));
                var got = s3.getObjectAsBytes(request -> request.bucket(bucket).key("copied/" + key));
                check(got.asUtf8String().equals(content), "content of the copy of " + key);
                check(got.response().metadata().equals(Map.of("by", "java")), "metadata of " + key);
                var signed =
                        presigner.presignGetObject(
                                request ->
                                        request.signatureDuration(Duration.ofMinutes(5))
                                                .getObjectRequest(
                                                        GetObjectRequest.builder().bucket(bucket).key(key).build()));
                var connection = (HttpURLConnection) signed.url().openConnection();
                check(connection.getResponseCode() == 200, "presigned: " + connection.getResponseCode());
                String shown = new String(connection.getInputStream().readAllBytes(), "UTF-8");
                check(shown.equals(content), "presigned: " + shown);
                gone.add(ObjectIdentifier.builder().key(key).build());
            }
            long listed =
                    s3.listObjectsV2Paginator(request -> request.bucket(bucket).maxKeys(3)).contents().stream()
                            .count();
            check(listed == 2L * keys.size(), listed + " listed");
            var deleted =
                    s3.deleteObjects(
                            request -> request.bucket(bucket).delete(Delete.builder().objects(gone).build()));
            check(deleted.deleted().size() == keys.size() && !deleted.hasErrors(), deleted.toString());
            try {
                s3.getObject(request -> request.bucket(bucket).key("nothing"));
                check(false, "a missing key was there");
            } catch (NoSuchKeyException expected) {
                check(expected.statusCode() == 404, expected.toString());
            }
        }
        try (S3AsyncClient s3 =
                        S3AsyncClient.builder()
                                .endpointOverride(endpoint)
                                .forcePathStyle(true)
                                .multipartEnabled(true)
                                .multipartConfiguration(
                                        parts -> parts.minimumPartSizeInBytes(5L << 20).thresholdInBytes(5L << 20))
                                .build();
                S3TransferManager transfers = S3TransferManager.builder().s3Client(s3).build()) {
            transfers
                    .uploadFile(
                            request ->
                                    request.source(Path.of(arguments[2]))
                                            .putObjectRequest(put -> put.bucket(bucket).key("large")))
                    .completionFuture()
                    .join();
            transfers
                    .downloadFile(
                            request ->
                                    request.destination(Path.of(arguments[3]))
                                            .getObjectRequest(get -> get.bucket(bucket).key("large")))
                    .completionFuture()
                    .join();
        }
        System.out.println("done");
    }
}
