"""Send a review with gotoHuman's client and print the answer: `agent.py WEBHOOK [auto]`."""

import asyncio
import json
import sys

from gotohuman import GotoHuman

review = GotoHuman().create_review("social-post").set_title("Post it")
review.set_review_data({"post": "Hello", "tags": ["a"]}).set_meta_data({"threadId": "t1"})
review.set_session_id("s1").set_webhook_url(sys.argv[1])
if sys.argv[2:] == ["auto"]:
    review.set_auto_approve(True)
print(json.dumps(asyncio.run(review.async_send_request())))
