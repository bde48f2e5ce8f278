#!/usr/bin/env python3
"""Writes toolhive.bin: a secrets file in ToolHive's form (nonce, AES-256-GCM ciphertext, tag; the key is the SHA-256 of the
password), made without any code of skep's. Needs the package cryptography."""
import hashlib, pathlib
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

nonce = bytes(range(12))
text = b'{"secrets":{"github":"ghp_example","__thv_workloads_BEARER_TOKEN_a":"t"}}'
key = hashlib.sha256(b"correct horse").digest()
sealed = AESGCM(key).encrypt(nonce, text, None)
pathlib.Path(__file__).with_name("toolhive.bin").write_bytes(nonce + sealed)
