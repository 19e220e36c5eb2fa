"""The examples of the package's README, one after the other."""

import importlib.metadata
import re

readme = str(importlib.metadata.metadata("gotohuman").get_payload())
blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
names = {"ai_text_draft": "Hello", "ai_image_url": "https://example.org/i.png", "threadId": "t1"}
for block in blocks[:2]:
    exec(compile(block, "README.md", "exec"), names)
