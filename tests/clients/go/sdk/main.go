// The usual job of a program that is built on the AWS SDK for Go v2.
//
// Arguments: endpoint, bucket, a large file, a name for its download, keys.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func encoded(key string) string {
	segments := strings.Split(key, "/")
	for index, segment := range segments {
		segments[index] = strings.ReplaceAll(url.QueryEscape(segment), "+", "%20")
	}
	return strings.Join(segments, "/")
}

func main() {
	endpoint, bucket, large, down, keys := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5:]
	ctx := context.Background()
	settings, err := config.LoadDefaultConfig(ctx)
	must(err)
	client := s3.NewFromConfig(settings, func(options *s3.Options) {
		options.BaseEndpoint = aws.String(endpoint)
		options.UsePathStyle = true
	})
	name := aws.String(bucket)
	_, err = client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name})
	must(err)

	var gone []types.ObjectIdentifier
	for _, key := range keys {
		content := "content of " + key
		_, err = client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: name, Key: aws.String(key), Body: strings.NewReader(content),
			Metadata: map[string]string{"by": "go"},
		})
		must(err)
		_, err = client.CopyObject(ctx, &s3.CopyObjectInput{
			Bucket: name, Key: aws.String("copied/" + key), CopySource: aws.String(bucket + "/" + encoded(key)),
		})
		must(err)
		got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: name, Key: aws.String("copied/" + key)})
		must(err)
		body, err := io.ReadAll(got.Body)
		must(err)
		if string(body) != content || got.Metadata["by"] != "go" {
			log.Fatalf("%q came back as %q with %v", content, body, got.Metadata)
		}
		signed, err := s3.NewPresignClient(client).PresignGetObject(ctx, &s3.GetObjectInput{
			Bucket: name, Key: aws.String(key), Range: aws.String("bytes=0-6"),
		})
		must(err)
		request, err := http.NewRequest(signed.Method, signed.URL, nil)
		must(err)
		for header, values := range signed.SignedHeader {
			request.Header[header] = values
		}
		answer, err := http.DefaultClient.Do(request)
		must(err)
		part, err := io.ReadAll(answer.Body)
		must(err)
		if answer.StatusCode != http.StatusPartialContent || string(part) != "content" {
			log.Fatalf("presigned: %d %q", answer.StatusCode, part)
		}
		gone = append(gone, types.ObjectIdentifier{Key: aws.String(key)})
	}

	listed := 0
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: name, MaxKeys: aws.Int32(3)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		must(err)
		listed += len(page.Contents)
	}
	if listed != 2*len(keys) {
		log.Fatalf("%d listed", listed)
	}
	deleted, err := client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: name, Delete: &types.Delete{Objects: gone},
	})
	must(err)
	if len(deleted.Deleted) != len(keys) || len(deleted.Errors) != 0 {
		log.Fatalf("%v", deleted)
	}

	content, err := os.ReadFile(large)
	must(err)
	transfers := transfermanager.New(client, func(options *transfermanager.Options) {
		options.PartSizeBytes = 5 << 20
		options.MultipartUploadThreshold = 5 << 20
	})
	_, err = transfers.UploadObject(ctx, &transfermanager.UploadObjectInput{
		Bucket: name, Key: aws.String("large"), Body: bytes.NewReader(content),
	})
	must(err)
	file, err := os.Create(down)
	must(err)
	_, err = transfers.DownloadObject(ctx, &transfermanager.DownloadObjectInput{
		Bucket: name, Key: aws.String("large"), WriterAt: file,
	})
	must(err)
	must(file.Close())
	_, err = client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: name, Key: aws.String("nothing")})
	var missing *types.NotFound
	if !errors.As(err, &missing) {
		log.Fatalf("a missing key: %v", err)
	}
	fmt.Println("done")
}
