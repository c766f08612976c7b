"""A running openpi server as a policy, so that it can stand behind this system's batching, safety and record.

The protocol is openpi's (openpi-client 0.1.2, ``websocket_client_policy.py`` and ``msgpack_numpy.py``): the server
speaks first, with its metadata; then one observation and one answer in turn, msgpack with numpy arrays; a text frame
is the server's traceback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, Self

import msgpack
import numpy as np
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from inference.exceptions import PolicyConfigurationError, PolicyError, PolicyLoadError, PolicyOutputError
from inference.policies import options as read
from inference.policies.base import ActionChunk, Observation, Policy, PolicyInfo, reject_unknown_options

_OPTIONS = (
    "url",
    "api_key",
    "image_keys",
    "state_key",
    "prompt_key",
    "cameras",
    "image_size",
    "state_size",
    "action_names",
    "horizon",
    "timeout_s",
)


class OpenpiPolicy(Policy):
    """Asks the openpi server at ``url`` for each observation of a batch in turn: its protocol knows no batches.

    Options: ``url``, such as ``ws://gpu-box:8000``; ``api_key``; ``image_keys``, the observation's keys for the
    cameras, in their order (``observation/<camera>``); ``state_key`` (``observation/state``); ``prompt_key``
    (``prompt``); ``image_size`` (224x224); ``timeout_s`` (10) for one answer. The collection gives cameras, state and
    actions; of a longer chunk than its horizon the first steps are taken.
    """

    backend: ClassVar[str] = "openpi"
    follows_collection: ClassVar[bool] = True

    def __init__(
        self,
        *,
        url: str,
        api_key: str | None,
        info: PolicyInfo,
        image_keys: Mapping[str, str],
        state_key: str,
        prompt_key: str,
        timeout: float,
    ) -> None:
        self._url = url
        self._headers = {"Authorization": f"Api-Key {api_key}"} if api_key else None
        self._info = info
        self._image_keys = image_keys
        self._state_key = state_key
        self._prompt_key = prompt_key
        self._timeout = timeout
        self._connection: ClientConnection | None = None
        self._open = ExitStack()

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        reject_unknown_options(options, _OPTIONS, backend=cls.backend)
        url = options.get("url")
        if not isinstance(url, str) or not url.startswith(("ws://", "wss://")):
            raise PolicyConfigurationError(f"The openpi backend needs 'url' as ws://host:port, not {url!r}.")
        cameras = read.names(options, "cameras") or ("image",)
        image_keys = read.names(options, "image_keys") or tuple(f"observation/{camera}" for camera in cameras)
        if len(image_keys) != len(cameras):
            raise PolicyConfigurationError("The option 'image_keys' names one key for each camera, in their order.")
        return cls(
            url=url,
            api_key=options.get("api_key") or None,
            info=PolicyInfo(
                name="openpi",
                cameras=cameras,
                image_size=read.image_size(options, "image_size", default=(224, 224)),
                state_size=read.count(options, "state_size", default=8),
                action_names=read.names(options, "action_names") or tuple(f"action_{n}" for n in range(7)),
                horizon=read.count(options, "horizon", default=10),
                metadata={"url": url},
            ),
            image_keys=dict(zip(cameras, image_keys, strict=True)),
            state_key=str(options.get("state_key", "observation/state")),
            prompt_key=str(options.get("prompt_key", "prompt")),
            timeout=read.number(options, "timeout_s", default=10.0),
        )

    @property
    def info(self) -> PolicyInfo:
        return self._info

    def load(self) -> None:
        try:
            self._connected()
        except (OSError, WebSocketException) as error:
            raise PolicyLoadError(f"No openpi server answers at {self._url}: {error}") from error

    def infer(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        return [self._chunk(observation) for observation in observations]

    def close(self) -> None:
        self._connection = None
        self._open.close()

    def _chunk(self, observation: Observation) -> ActionChunk:
        asked: dict[str, Any] = {key: observation.images[camera] for camera, key in self._image_keys.items()}
        asked |= {self._state_key: observation.state, self._prompt_key: observation.instruction}
        frame = msgpack.packb(asked, default=_encode)
        try:
            answer = self._exchange(frame)
        except (OSError, WebSocketException):
            # The server was restarted since: a policy has no memory, so asking once more changes nothing.
            self.close()
            try:
                answer = self._exchange(frame)
            except (OSError, WebSocketException) as error:
                self.close()
                raise PolicyError(f"The openpi server at {self._url} does not answer: {error}") from error
        if isinstance(answer, str):
            raise PolicyError(f"The openpi server failed: {answer.strip().rsplit(chr(10), 1)[-1]}")
        return self._checked(msgpack.unpackb(answer, object_hook=_decode))

    def _exchange(self, frame: bytes) -> bytes | str:
        connection = self._connected()
        connection.send(frame)
        return connection.recv(self._timeout)

    def _connected(self) -> ClientConnection:
        if self._connection is None:
            connection = self._open.enter_context(
                connect(
                    self._url,
                    additional_headers=self._headers,
                    compression=None,
                    max_size=None,
                    open_timeout=self._timeout,
                )
            )
            connection.recv(self._timeout)  # the server's metadata
            self._connection = connection
        return self._connection

    def _checked(self, answer: Any) -> ActionChunk:
        actions = answer.get("actions") if isinstance(answer, dict) else None
        wanted = (self._info.horizon, len(self._info.action_names))
        if not isinstance(actions, np.ndarray) or actions.ndim != 2:
            raise PolicyOutputError("The openpi server's answer has no actions.")
        if actions.shape[0] < wanted[0] or actions.shape[1] != wanted[1]:
            raise PolicyOutputError(f"The openpi server's chunk has the shape {actions.shape}, not {wanted}.")
        return ActionChunk(np.ascontiguousarray(actions[: wanted[0]], np.float32))


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    raise TypeError(f"Cannot pack {type(value).__name__}.")


def _decode(found: dict[Any, Any]) -> Any:
    if b"__ndarray__" in found:
        return np.frombuffer(found[b"data"], np.dtype(found[b"dtype"])).reshape(found[b"shape"])
    if b"__npgeneric__" in found:
        return np.dtype(found[b"dtype"]).type(found[b"data"])
    return found
