"""The S3 clients that `make client-test` installs (tests/clients), each with its keys as it takes
them."""

from __future__ import annotations

import filecmp
import json
import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from e2e_swarm import Swarm

ROOT = Path(__file__).parents[3]
INSTALLED = ROOT / ".clients"
LARGE = os.urandom(12 * 1024 * 1024 + 5)
"""More than any of them sends or copies in one request by its defaults, or in parts of 5 MiB."""
KEYS = ["plain", "a b", "a+b", "d i r/x + y%20z&=ü.txt"]


def files_of(folder: Path) -> list[str]:
    return sorted(
        str((Path(place) / name).relative_to(folder))
        for place, _, names in os.walk(folder)
        for name in names
    )


def assert_same(one: Path, other: Path) -> None:
    """Both folders have the same files with the same bytes."""
    assert files_of(one) == files_of(other)
    _, differing, failed = filecmp.cmpfiles(one, other, files_of(one), shallow=False)
    assert (differing, failed) == ([], [])


def all_in(s3: Any, bucket: str) -> dict[str, bytes]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    rows = [row for page in pages for row in page.get("Contents", [])]
    return {row["Key"]: s3.get_object(Bucket=bucket, Key=row["Key"])["Body"].read() for row in rows}


class Clients:
    """Runs them in a home of their own.

    Attributes:
        home: theirs, where they keep configurations and caches.
    """

    def __init__(self, swarm: Swarm, home: Path) -> None:
        self.swarm = swarm
        self.home = home
        home.mkdir(parents=True)
        known = swarm.credentials
        self.endpoint = known["endpoint"]
        self.host = urlsplit(self.endpoint).netloc
        self.access_key = known["access_key"]
        self.secret_key = known["secret_key"]
        self.ca_file = known.get("ca_file")
        scheme = "https" if self.ca_file else "http"
        trusts = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "RESTIC_CACERT") if self.ca_file else ()
        self.environment = {
            **swarm.environment(),
            **{name: str(self.ca_file) for name in trusts},
            "HOME": str(home),
            "AWS_REGION": known["region"],
            "MC_HOST_swarm": f"{scheme}://{self.access_key}:{self.secret_key}@{self.host}",
            "RESTIC_PASSWORD": "a password",
            "KOPIA_PASSWORD": "a password",
            "KOPIA_CHECK_FOR_UPDATES": "false",
        }

    def run(
        self, *command: str | Path, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, which is success unless ``check`` says otherwise."""
        done = subprocess.run(
            [str(each) for each in command],
            env={**self.environment, **environment},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        said = f"{command}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert done.returncode == 0 or not check, said
        return done

    def installed(self, name: str) -> Path:
        """The path of a command that `make client-test` built or installed."""
        place = INSTALLED / name
        assert place.exists(), f"{place} is missing: run this by `make client-test`"
        return place

    # --- command lines -----------------------------------------------------------------------

    def aws_2(self, *arguments: str) -> str:
        """Debian's aws-cli, which is version 2."""
        return self.run("/usr/bin/aws", "--endpoint-url", self.endpoint, *arguments).stdout

    def rclone_of_debian(self, *arguments: str) -> str:
        # It takes RCLONE_CA_CERT, and cannot start beside the variable of the SDK in it.
        return self.run("/usr/bin/rclone", "--retries=1", *arguments, AWS_CA_BUNDLE="").stdout

    def s5cmd(self, *arguments: str) -> str:
        command = self.installed("bin/s5cmd")
        return self.run(command, "--endpoint-url", self.endpoint, *arguments).stdout

    def mc(self, *arguments: str | Path, check: bool = True) -> Any:
        """Run MinIO's client; returns the JSON documents that it printed."""
        done = self.run(self.installed("bin/mc"), "--json", *arguments, check=check)
        decoder, text, documents = json.JSONDecoder(), done.stdout.strip(), []
        while text:
            document, end = decoder.raw_decode(text)
            documents.append(document)
            text = text[end:].strip()
        return documents

    def s3cmd(self, version: str, *arguments: str | Path) -> str:
        """Run s3cmd.

        Args:
            version: "new", or "debian" for Debian's.
        """
        command = Path("/usr/bin/s3cmd")
        if version == "new":
            command = self.installed("python/bin/s3cmd")
        secure = ["--no-ssl"]
        if self.ca_file:
            secure = ["--ssl", f"--ca-certs={self.ca_file}"]
        places = [f"--host={self.host}", f"--host-bucket={self.host}"]
        # It has no option for this: the URLs that it signs begin with http without it.
        configuration = self.home / "s3cfg"
        configuration.write_text(f"[default]\nsignurl_use_https = {bool(self.ca_file)}\n")
        places.append(f"--config={configuration}")
        return self.run(command, "--no-progress", *places, *secure, *arguments).stdout

    # --- backups ---------------------------------------------------------------------------------

    def restic(self, version: str, repository: str, *arguments: str | Path) -> str:
        """Run restic.

        Args:
            version: "new", or "debian" for Debian's.
            repository: bucket and prefix.
        """
        command = self.installed("bin/restic") if version == "new" else Path("/usr/bin/restic")
        place = f"--repo=s3:{self.endpoint}/{repository}"
        return self.run(command, place, *arguments).stdout

    def kopia(self, *arguments: str | Path) -> str:
        done = self.run(self.installed("bin/kopia"), *arguments)
        return done.stdout + done.stderr

    def duplicity(self, version: str, action: str, *arguments: str | Path) -> str:
        """Run duplicity.

        Args:
            version: "new", or "debian" for Debian's.
            action: what comes before the options.
        """
        command = Path("/usr/bin/duplicity")
        if version == "new":
            command = self.installed("python/bin/duplicity")
        place = ("--s3-endpoint-url", self.endpoint)
        return self.run(command, action, "--no-encryption", *place, *arguments).stdout

    def barman(self, command: str, *arguments: str | Path) -> str:
        """Run a command of barman-cloud."""
        program = self.installed(f"python/bin/barman-cloud-{command}")
        return self.run(program, "--endpoint-url", self.endpoint, *arguments).stdout

    # --- programs on SDKs --------------------------------------------------------------------

    def java(self, *arguments: str | Path) -> str:
        """Run Java with all jars, and the authority that is trusted."""
        folder = self.installed("java")
        options: list[str] = []
        if self.ca_file:
            store = self.home / "trusted.p12"
            if not store.exists():
                self.run(
                    *("keytool", "-importcert", "-noprompt", "-alias", "swarm"),
                    *("-storetype", "PKCS12", "-storepass", "changeit"),
                    *("-keystore", store, "-file", self.ca_file),
                )
            options = [
                f"-Djavax.net.ssl.trustStore={store}",
                "-Djavax.net.ssl.trustStorePassword=changeit",
            ]
        path = f"{self.home}:{folder}/classes:{folder}/lib/*"
        return self.run("java", *options, "-cp", path, *arguments).stdout

    def node(self, script: str, *arguments: str | Path) -> Any:
        """Run a script of tests/clients/js; returns the JSON that it printed."""
        place = self.installed("js") / script
        trusts = {"NODE_EXTRA_CA_CERTS": self.ca_file} if self.ca_file else {}
        done = self.run("node", place, *arguments, S3_ENDPOINT=self.endpoint, **trusts)
        return json.loads(done.stdout)

    def python(self, interpreter: Path | str, script: str, *arguments: str | Path) -> str:
        """Run a script of tests/clients/python."""
        place = ROOT / "tests" / "clients" / "python" / script
        return self.run(interpreter, place, *arguments).stdout
