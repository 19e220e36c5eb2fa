"""The display and editing of values, texts and schemas."""
