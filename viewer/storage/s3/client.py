"""Calls to an object store: one client a process, a deadline for each, errors as sentences.

Unavailable
  Refused   the server answered, and its answer was no
"""

import contextlib
import functools
import hashlib
import logging
import math
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

import boto3
import botocore.credentials
import botocore.exceptions
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    SSLError,
)
from botocore.response import StreamingBody

from viewer.storage.s3.address import Credentials, S3Address
from viewer.storage.s3.signing import Signer
from viewer.storage.store import Unavailable

# At DEBUG both write whole requests with their signatures.
logging.getLogger("botocore").setLevel(logging.INFO)
logging.getLogger("urllib3").setLevel(logging.ERROR)

_CONNECT_SECONDS = 3
_SILENT_SECONDS = 20  # without a byte
_ATTEMPTS = 3
_CONNECTIONS = 16  # kept open; `move` and the web server have eight threads
_HASTY_SECONDS = 2.0  # for a call

_haste: ContextVar[float] = ContextVar("haste", default=math.inf)

_Answer = TypeVar("_Answer")

_WORDS = {
    "RequestTimeTooSkewed": "The object store refuses us because this computer's clock is wrong.",
    "NoSuchBucket": "The bucket for photos does not exist.",
    "PermanentRedirect": "The bucket for photos is in another region than its address says.",
    "AuthorizationHeaderMalformed": "The bucket for photos is in another region than its address"
    " says.",
    "InvalidAccessKeyId": "The object store does not know our access key.",
    "SignatureDoesNotMatch": "The object store refuses our access key: its secret is wrong.",
    "ExpiredToken": "Our access key for the object store has expired.",
    "SlowDown": "The object store is busy.",
    "BadDigest": "The bytes were damaged on their way to the object store.",
    "XAmzContentChecksumMismatch": "The bytes were damaged on their way to the object store.",
    "XAmzContentSHA256Mismatch": "The bytes were damaged on their way to the object store.",
}


@dataclass(frozen=True, slots=True)
class Limits:
    call: float = 30.0  # seconds for a call, its retries included
    slowest: float = 100_000.0  # bytes a second; a call that carries bytes gets that much longer


DEFAULT_LIMITS = Limits()


class Refused(Unavailable):
    """The server's answer was an error. Who expects it looks at the status."""

    def __init__(self, error: ClientError) -> None:
        answer = error.response
        about = answer.get("ResponseMetadata", {})
        self.code = str(answer.get("Error", {}).get("Code", ""))[:60]
        self.status = int(about.get("HTTPStatusCode", 0))
        self.is_retry = about.get("RetryAttempts", 0) > 0  # an earlier try may have had its effect
        super().__init__(_say(self.code, self.status))

    @property
    def is_missing(self) -> bool:
        """No such key, or no such bucket: the answer to a HEAD does not say which."""
        return self.status == 404 and self.code != "NoSuchBucket"

    @property
    def is_damage(self) -> bool:
        """The server received other bytes than their checksum promised."""
        return self.code in (
            "BadDigest",
            "XAmzContentChecksumMismatch",
            "XAmzContentSHA256Mismatch",
        )


class _Signature(S3SigV4Auth):  # type: ignore[misc]
    """Also of the body, whose checksum is known already."""

    def payload(self, request: AWSRequest) -> str:
        return str(request.context["sha256"])


_OF_NOTHING = hashlib.sha256().digest()


class _Aide:
    """A thread that does one thing after another for another thread, so that few are started."""

    _local = threading.local()

    @classmethod
    def of_this_thread(cls) -> Self:
        found = getattr(cls._local, "aide", None)
        if found is None or found.pid != os.getpid():  # no thread survives a fork
            found = cls._local.aide = cls()
        return found

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.asked: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        words = (self.asked, self.answers)
        threading.Thread(target=_aid, args=words, name=_IDLE, daemon=True).start()

    def leave(self) -> None:
        """Leave it to itself: it ends with what it is doing, and nobody hears of that."""
        self.asked.put(None)
        type(self)._local.aide = None

    def __del__(self) -> None:
        self.asked.put(None)  # its thread has ended: so does this one


_IDLE, _BUSY = "s3 idle", "s3"


def _aid(
    asked: "queue.SimpleQueue[Callable[[], Any] | None]",
    answers: "queue.SimpleQueue[tuple[Any, BaseException | None]]",
) -> None:
    itself = threading.current_thread()
    while work := asked.get():
        itself.name = _BUSY
        try:
            answers.put((work(), None))
        except BaseException as error:  # noqa: BLE001 - raised again in the other thread
            answers.put((None, error))
        itself.name, work = _IDLE, None


class Server:
    """A bucket on a server, and how to talk to it."""

    def __init__(
        self, address: S3Address, credentials: Credentials | None, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._limits = limits
        self._client: Any = None
        self._pid = 0
        self._signed_for: Any = None  # the client that told `_base` and `_region`
        self._base = self._region = ""

    @property
    def bucket(self) -> str:
        return self._address.bucket

    def call(self, operation: str, size: int = 0, **parameters: Any) -> dict[str, Any]:
        """Call this operation of the client on our bucket; `size` is how many bytes it carries.

        Raises Refused, Unavailable.
        """
        with _in_words():
            method = getattr(self.client(), operation)
        return self.within(lambda: method(Bucket=self.bucket, **parameters), size)

    def within(self, work: Callable[[], _Answer], size: int = 0) -> _Answer:
        """The result of `work`, if it comes in time. Raises Refused, Unavailable.

        In a thread beside ours, which is left to itself at the deadline. A socket's timeout bounds
        one silence only, not an answer that drips. And boto3 takes whatever is raised inside it
        for a failed try, also the alarm by which the queue ends a job: here it meets our waiting.
        """
        longest = min(self._limits.call, _haste.get())
        aide, seconds = _Aide.of_this_thread(), longest + size / self._limits.slowest
        aide.asked.put(work)
        try:
            answer, error = aide.answers.get(timeout=seconds)
        except BaseException as reason:
            aide.leave()
            if isinstance(reason, queue.Empty):
                raise Unavailable("The object store does not answer in time.") from None
            raise
        with _in_words():
            if error is not None:
                raise error
        return answer  # type: ignore[no-any-return] # there is one if there was no error

    def get(self, name: str, wanted: str, tag: str | None) -> tuple[str, str, StreamingBody]:
        """Some bytes of an object: their range, the object's tag, and the bytes.

        `wanted` as in the header Range; `tag`: only of this very object. The request is signed here
        and sent by boto3's connections: a whole call of boto3 takes three times as long
        (docs/performance.md). Any other answer than the bytes is left to that call, which asks
        again, waits, and says what is wrong. Raises what boto3 raises: to be called `within`.
        """
        headers = {"Range": wanted} | ({"If-Match": tag} if tag else {})
        with contextlib.suppress(BotoCoreError):
            found = self._send("GET", name, headers)
            if found.status_code == 206:
                said = found.headers
                body = StreamingBody(found.raw, said.get("Content-Length"))
                return said.get("Content-Range", ""), said.get("ETag", ""), body
            found.raw.close()
        condition = {"IfMatch": tag} if tag else {}
        answer = self.client().get_object(Bucket=self.bucket, Key=name, Range=wanted, **condition)
        return answer.get("ContentRange", ""), answer["ETag"], answer["Body"]

    def create(
        self, name: str, body: BinaryIO, sha256: bytes, headers: dict[str, str]
    ) -> tuple[int, Mapping[str, str]]:
        """Put an object under a name that nothing has yet: the answer's status and its headers.

        Once, and not through boto3, like `get`: what is not 200 is boto3's. 0: no answer came, and
        the object may be there or not. To be called `within`.
        """
        headers = {"If-None-Match": "*", **headers}
        with contextlib.suppress(BotoCoreError):
            found = self._send("PUT", name, headers, body, sha256)
            return found.status_code, found.headers
        return 0, {}

    def _send(
        self, method: str, name: str, headers: dict[str, str],
        body: BinaryIO | None = None, sha256: bytes = _OF_NOTHING,
    ) -> Any:  # fmt: skip
        """One request, signed here: the answer, an AWSResponse; that of a GET is not read yet."""
        signer = self.signer()
        key = botocore.credentials.Credentials(
            signer.access_key_id, signer.secret_access_key, signer.session_token
        )
        address = signer.base + quote(name)
        request = AWSRequest(method, address, headers, body, stream_output=method == "GET")
        request.context["sha256"] = sha256.hex()
        _Signature(key, "s3", signer.region).add_auth(request)
        # boto3's own connections, with its proxies, certificates and patience.
        return self.client()._endpoint.http_session.send(request.prepare())

    @contextlib.contextmanager
    def in_haste(self) -> Iterator[None]:
        """Calls in this block have seconds: somebody waits who can do without their answer."""
        token = _haste.set(_HASTY_SECONDS)
        try:
            yield
        finally:
            _haste.reset(token)

    def signer(self) -> Signer:
        """Signs addresses with the credentials of these moments. Raises Unavailable."""
        with _in_words():
            client = self.client()
            if self._signed_for is not client:
                self._base, self._region = self._place_of_bucket(client)
                self._signed_for = client
            key = self._credentials
            if key is not None:
                return Signer(self._base, self._region, key.access_key_id, key.secret_access_key)
            found = _session().get_credentials()
            if found is None:
                raise NoCredentialsError
            frozen = found.get_frozen_credentials()  # renews those that end soon
            return Signer(
                self._base, self._region, frozen.access_key, frozen.secret_key, frozen.token
            )

    def _place_of_bucket(self, client: Any) -> tuple[str, str]:
        """Its address, which ends with a slash, and its region."""
        # Where the bucket is named, and the region, are boto3's affair: an address that it signs
        # says both. But not its server, which may be AWS's global one: that sends elsewhere.
        words = {"Bucket": self.bucket, "Key": "a"}
        asked = urlsplit(client.generate_presigned_url("get_object", Params=words))
        region = dict(parse_qsl(asked.query))["X-Amz-Credential"].split("/")[-3]
        server = urlsplit(client.meta.endpoint_url)
        # The port is signed, and browsers say none that goes without saying.
        host = server.netloc.removesuffix(":443" if server.scheme == "https" else ":80")
        if asked.netloc.startswith(f"{self.bucket}."):
            return f"{server.scheme}://{self.bucket}.{host}/", region
        return f"{server.scheme}://{host}/{self.bucket}/", region

    def client(self) -> Any:
        """Made after the fork: two processes must not share a connection."""
        if self._pid != os.getpid():
            with _making:
                if self._pid != os.getpid():
                    self._client = self._new_client()
                    self._pid = os.getpid()
        return self._client

    def _new_client(self) -> Any:
        key = self._credentials
        return _session().client(
            "s3",
            endpoint_url=self._address.endpoint,
            region_name=self._address.region,
            aws_access_key_id=key and key.access_key_id,
            aws_secret_access_key=key and key.secret_access_key,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": self._address.style},
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_SILENT_SECONDS,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                max_pool_connections=_CONNECTIONS,
                # The default adds a checksum to each request in a way that several services
                # refuse, and that one kept as part of the file. We send our own.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


@functools.cache
def _session() -> boto3.session.Session:
    """Reading what S3 is takes it most of 100 ms, once. Only one thread may use it at a time."""
    return boto3.session.Session()


_making = threading.Lock()


def _renew_lock() -> None:
    global _making
    _making = threading.Lock()  # another thread may have held it at the fork


os.register_at_fork(after_in_child=_renew_lock)


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """An error of boto3 ends here, as a sentence: its own may show keys and addresses."""
    try:
        yield
    except ClientError as error:
        raise Refused(error) from None
    except (NoCredentialsError, PartialCredentialsError):
        raise Unavailable(
            "There is no access key for the object store: set S3_ACCESS_KEY_ID and"
            " S3_SECRET_ACCESS_KEY."
        ) from None
    except NoRegionError:
        raise Unavailable("The address of the bucket names no region.") from None
    except SSLError:
        raise Unavailable("The object store's certificate is not valid.") from None
    except botocore.exceptions.ConnectionError:
        raise Unavailable("The object store cannot be reached.") from None
    except HTTPClientError as error:
        raise Unavailable(f"The object store does not answer ({type(error).__name__}).") from None
    except BotoCoreError as error:
        raise Unavailable(f"The object store cannot be used ({type(error).__name__}).") from None


def _say(code: str, status: int) -> str:
    if code in _WORDS:
        return _WORDS[code]
    if status == 403:
        return f"The object store denies us access ({code or status})."
    if status == 404:
        return "The object store has no such object or bucket."
    if status in (301, 307):
        return _WORDS["PermanentRedirect"]
    if status >= 500:
        return f"The object store reports errors ({code or status})."
    return f"The object store refused a request ({code or status})."
