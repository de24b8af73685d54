"""Hands over mail as people, programs and malware do, from any address of its namespace.

In: one JSON job a line: {"from_ip", "to": [host, port], "helo", "auth": [user, password]?, "sender", "recipients",
"subject", "size", "tls": bool?}. Out: one JSON line a job: the time before it and after it, and what became of each recipient.
"""

import email.utils
import json
import smtplib
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

lock = threading.Lock()


def letter(job):
    head = "From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: %s\r\n\r\n" % (
        job["sender"], job["recipients"][0], job.get("subject", "Hello"), email.utils.formatdate(),
        email.utils.make_msgid(domain=job.get("helo", "localhost")))
    return (head + ("All work and no play.\r\n" * (job.get("size", 600) // 23))).encode()


def deliver(job):
    answer = {"id": job.get("id"), "began": time.time(), "replies": {}}
    try:
        with smtplib.SMTP(timeout=20, local_hostname=job["helo"], source_address=(job["from_ip"], 0)) as smtp:
            smtp._host = job["to"][0]  # STARTTLS names the server by it; connect() alone does not set it
            smtp.connect(*job["to"])
            smtp.ehlo_or_helo_if_needed()
            if job.get("tls") and smtp.has_extn("starttls"):
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                smtp.starttls(context=context)
            if job.get("auth"):
                smtp.login(*job["auth"])
            code, text = smtp.mail(job["sender"])
            if code != 250:
                raise smtplib.SMTPResponseException(code, text)
            for recipient in job["recipients"]:
                answer["replies"][recipient] = smtp.rcpt(recipient)[0]
            if any(code == 250 for code in answer["replies"].values()):
                answer["data"] = smtp.data(letter(job))[0]
    except Exception as error:  # whatever a receiver does, the job has an answer
        answer["error"] = repr(error)
    answer["ended"] = time.time()
    with lock:
        print(json.dumps(answer), flush=True)


def main():
    with ThreadPoolExecutor(int(sys.argv[1]) if len(sys.argv) > 1 else 8) as pool:
        for line in sys.stdin:
            pool.submit(deliver, json.loads(line))


if __name__ == "__main__":
    main()
