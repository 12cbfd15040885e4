"""What a registered version must show before anything of it is read: all its files, and who registered it.

At registration every file of the model's folder is hashed, and the list is kept as a tag of the version. With a key the
list is signed, together with the tags that loading goes by. A key pair, not one secret: who scores and serves needs the
public half only, and so cannot make a version that others take.

``python -m registry.trust`` prints a new pair.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from features.errors import ConfigurationError, ModelError

log = logging.getLogger(__name__)

FILES, SIGNATURE = "files", "signature"
SIGNED = (FILES, "feature_version", "preset", "parameters", "libraries")
"""The tags that a signature is about, besides the model's name."""
ADDED_BY_MLFLOW = "registered_model_meta"
"""MLflow writes it into what it downloads."""
AGAIN = "Promote another version or train again."


@dataclass(frozen=True)
class Trust:
    """Whose versions are taken: ``signs`` makes signatures, ``verifies`` knows them, ``required`` refuses others."""

    signs: Ed25519PrivateKey | None = None
    verifies: Ed25519PublicKey | None = None
    required: bool = False

    @classmethod
    def of(cls, private: str | None, public: str | None, *, required: bool | None) -> Trust:
        """From the two halves of a key as text; ``required`` None means: where a key is known.

        Raises:
            ConfigurationError: a key is none, the two do not fit, or signatures are required and no key is known.
        """
        signs = Ed25519PrivateKey.from_private_bytes(_bytes(private, "BEHAVIOR_MODEL_KEY")) if private else None
        verifies = Ed25519PublicKey.from_public_bytes(_bytes(public, "model.public_key")) if public else None
        if signs is not None and verifies is not None and signs.public_key() != verifies:
            raise ConfigurationError(
                "model.public_key is not the public half of BEHAVIOR_MODEL_KEY: what is signed here would be refused. "
                "Take both from one call of python -m registry.trust."
            )
        if verifies is None and signs is not None:
            verifies = signs.public_key()
        if required and verifies is None:
            raise ConfigurationError(
                "model.require_signature is true and no key is known: set model.public_key, and where models are "
                "trained BEHAVIOR_MODEL_KEY. python -m registry.trust makes both."
            )
        return cls(signs, verifies, verifies is not None if required is None else required)

    def seal(self, name: str, folder: Path, tags: Mapping[str, str]) -> dict[str, str]:
        """The tags that say which files the model ``name`` in ``folder`` has, and with a key that we say so."""
        sealed = {FILES: json.dumps(hashes(folder), sort_keys=True)}
        if self.signs is not None:
            signature = self.signs.sign(_statement(name, {**tags, **sealed}))
            sealed[SIGNATURE] = base64.b64encode(signature).decode()
        return sealed

    def check_tags(self, name: str, tags: Mapping[str, str], what: str) -> None:
        """Refuse a version whose tags are not what the key's owner signed; one without a signature only if required."""
        signature = tags.get(SIGNATURE)
        if signature is None and self.required:
            raise ModelError(
                f"The {what} is not signed, and only signed ones are taken (model.require_signature). Train it again "
                "where BEHAVIOR_MODEL_KEY is set, or promote a signed version."
            )
        if signature is None and self.verifies is not None:
            log.warning("The %s is not signed; it is taken because model.require_signature is false.", what)
        if signature is None or self.verifies is None:
            return
        try:
            self.verifies.verify(base64.b64decode(signature, validate=True), _statement(name, tags))
        except (InvalidSignature, binascii.Error):
            raise ModelError(
                f"The signature of {what} does not fit: it was made with another key than model.public_key, for "
                f"another version, or the version's tags were changed since. {AGAIN}"
            ) from None


def check_files(folder: Path, tags: Mapping[str, str], what: str) -> None:
    """Refuse a folder that has not exactly the files, by name and content, that the tags list."""
    present, recorded = hashes(folder), _recorded(tags, what)
    for name in sorted(recorded.keys() - present.keys()):
        raise ModelError(f"{name} of {what} is not in the artifact store. {AGAIN}")
    for name, seen in present.items():
        if name not in recorded:
            raise ModelError(
                f"{name!r} lies beside {what} and was not registered with it: somebody put it there, so nothing of it "
                f"was read. Remove it from the artifact store, or promote another version."
            )
        if seen != recorded[name]:
            raise ModelError(
                f"{name} of {what} is not the file that was registered: its SHA-256 is {seen[:12]}…, "
                f"recorded was {recorded[name][:12]}…. {AGAIN}"
            )


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file in a folder, by its path there; of a link, which is none of ours, that it is one."""
    by_path = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            by_path[name] = "a link"
        elif path.is_file() and name != ADDED_BY_MLFLOW:
            by_path[name] = sha256(path)
    return by_path


def sha256(file: Path) -> str:
    """The hash of a file's content, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def new_pair() -> tuple[str, str]:
    """A new key: its private and its public half, as text."""
    key = Ed25519PrivateKey.generate()
    halves = key.private_bytes_raw(), key.public_key().public_bytes_raw()
    private, public = (base64.urlsafe_b64encode(half).decode() for half in halves)
    return private, public


def _statement(name: str, tags: Mapping[str, str]) -> bytes:
    said = {"model": name, **{tag: tags.get(tag, "") for tag in SIGNED}}
    return b"behavior-model-1\n" + json.dumps(said, sort_keys=True).encode()


def _recorded(tags: Mapping[str, str], what: str) -> dict[str, str]:
    try:
        recorded = json.loads(tags.get(FILES, ""))
        return {str(name): str(value) for name, value in recorded.items()}
    except (ValueError, AttributeError):
        raise ModelError(
            f"The {what} has no list of its files with their hashes (tag '{FILES}'): it was registered by an older "
            f"version of the platform, or its tags were changed. Train again: python -m jobs.train_model."
        ) from None


def _bytes(text: str, name: str) -> bytes:
    try:
        decoded = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != 32:
        raise ConfigurationError(f"{name} is no key of ours. Make one with python -m registry.trust.")
    return decoded


def main() -> None:
    private, public = new_pair()
    print(f"BEHAVIOR_MODEL_KEY={private}   # a secret: in the environment of train_model and make run only")
    print(f"model.public_key: {public}   # no secret: in conf/ of all jobs and the server")


if __name__ == "__main__":
    main()
