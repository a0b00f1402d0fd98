"""Every real model: what reading and writing must not change."""
