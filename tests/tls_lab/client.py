"""Hands letters to a server, one session a visit: standard input is a list of visits, each a list of letters."""
import json
import smtplib
import sys

host, port, source, mode = sys.argv[1:]
for visit in json.load(sys.stdin):
    with smtplib.SMTP(host, int(port), source_address=(source, 0), timeout=60) as smtp:
        smtp.ehlo()
        if mode == "tls":
            smtp.starttls()
            smtp.ehlo()
        for letter in visit:
            try:
                smtp.sendmail(letter["from"], letter["to"], letter["text"])
            except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError):
                if mode == "submit":
                    raise
