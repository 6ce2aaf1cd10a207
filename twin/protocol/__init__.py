"""OCPP 1.6-J as pure functions: bytes to frames, frames to messages, messages to events, events to state."""
