"""Tells which models an upstream written in Python would find in request bodies: one JSON line in, one out."""

import cgi
import email.parser
import email.policy
import io
import json
import sys
import warnings


def every_pair(pairs):
    """A dictionary that remembers the first of equal keys as well."""
    seen = {}
    for key, value in pairs:
        seen.setdefault("first:" + key, value)
        seen["last:" + key] = value
    return seen


def of_json(body):
    found = []
    for encoding in ("utf-8-sig", "detect"):
        try:
            text = body.decode(encoding) if encoding != "detect" else body.decode(json.detect_encoding(body))
            value = json.loads(text, object_pairs_hook=every_pair, strict=False)
        except (ValueError, RecursionError):
            continue
        for key, named in value.items() if isinstance(value, dict) else ():
            if key.split(":", 1)[1].split("\0")[0].strip().lower() in ("model", "models"):
                found += named if isinstance(named, list) else [named]
    return found


def of_cgi(body, content_type):
    environ = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body))}
    try:
        form = cgi.FieldStorage(fp=io.BytesIO(body), environ=environ, headers={
            "content-type": content_type, "content-length": str(len(body)),
        })
        return [item.value for item in form.list or () if item.name is not None and item.name.strip() == "model"]
    except (ValueError, TypeError, AttributeError, LookupError):
        return []


def of_email(body, content_type):
    try:
        head = b"Content-Type: " + content_type.encode() + b"\r\n\r\n"
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        return [
            (part.get_payload(decode=True) or b"").decode("utf-8", "replace")
            for part in (message.iter_parts() if message.is_multipart() else ())
            if part.get_param("name", header="content-disposition") == "model"
        ]
    except (ValueError, TypeError, AttributeError, LookupError, IndexError):
        return []


warnings.simplefilter("ignore")
for line in sys.stdin:
    case = json.loads(line)
    body = bytes.fromhex(case["body"])
    if case["type"].startswith("multipart/"):
        models = of_cgi(body, case["type"]) + of_email(body, case["type"])
    else:
        models = of_json(body)
    named = [model if isinstance(model, str) else repr(model) for model in models if model is not None]
    print(json.dumps(named), flush=True)
