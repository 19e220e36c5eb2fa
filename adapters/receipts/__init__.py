"""Receipts as compact JWS (RFC 7515) with Ed25519 (RFC 8037): signing, the keys' storage, and verification."""
