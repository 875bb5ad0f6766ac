#!/usr/bin/env python3
"""Reads the notices of a running `spool serve` with two parsers from other hands, and compares them with what was to be told.

    python3 -m venv venv && venv/bin/pip install flufl.bounce
    venv/bin/python tests/interop/bounces.py target/debug/spool [MIXES] [SEED]

It plays MIXES (200) generated messages: recipients, NOTIFY, RET, ENVID and ORCPT as the dice fall, refused, deferred and taken by peers that offer
DSN or do not, with replies that do not mean well. What must be told of whom is computed here, from RFC 3461 alone. Python's `email` reads every
field; flufl.bounce names who failed and who is late. Everything is on loopback.
"""

import asyncio
import email
import email.policy
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from flufl.bounce import all_failures

REPLIES = [
    (b"5.1.1 no such user",),
    (b"5.7.1 --=_boundary", b"5.7.1 --=_boundary--"),
    (b"gr\xfc\xdfe \xff\xfe\x07",),
    (b"5.2.2 " + b"full " * 180,),
    (b"", b"Action: delivered", b"Final-Recipient: rfc822; evil@example.net"),
    tuple(b"5.3.0 line %d of many" % number for number in range(90)),
]


class Peer:
    """An SMTP server that answers each RCPT as `answers` says, and keeps what it takes."""

    def __init__(self, offers=()):
        self.offers, self.answers, self.taken = offers, {}, asyncio.Queue()

    async def start(self):
        server = await asyncio.start_server(self.session, "127.0.0.1", 0, limit=1 << 24)
        self.address = "127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        return self

    async def session(self, reader, writer):
        try:
            await self.speak(reader, writer)
        except (asyncio.CancelledError, ConnectionError):
            pass

    async def speak(self, reader, writer):
        def say(*lines):
            for line in lines:
                writer.write(line + b"\r\n")

        say(b"220 peer ESMTP")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                words = [b"peer", b"PIPELINING", b"8BITMIME", *self.offers]
                say(*(b"250-" + word for word in words[:-1]), b"250 " + words[-1])
            elif verb == b"MAIL":
                mail, taken = line.rstrip(), []
                say(b"250 ok")
            elif verb == b"RCPT":
                to = line[line.index(b"<") + 1 : line.index(b">")].decode()
                code, lines = self.answers.get(to, (250, (b"2.1.5 ok",)))
                if code == 250:
                    taken.append(to)
                for text in lines[:-1]:
                    say(b"%d-" % code + text)
                say(b"%d " % code + lines[-1])
            elif verb == b"DATA" and not taken:
                say(b"554 nobody")
            elif verb == b"DATA":
                say(b"354 go")
                await writer.drain()
                body = b""
                while (text := await reader.readline()) != b".\r\n":
                    body += text[1:] if text.startswith(b".") else text
                say(b"250 2.6.0 taken")
                await self.taken.put((mail, taken, body))
            else:
                say(b"221 bye" if verb == b"QUIT" else b"250 ok")
            await writer.drain()
        writer.close()


def mix(dice, number):
    """One message: what is said of it, and for each recipient the action that its notice must have, or none."""
    dsn = dice.random() < 0.5
    domain = "dsn.example" if dsn else "plain.example"
    recipients = []
    for nth in range(dice.randint(1, 6)):
        # Without "=": flufl.bounce reads the address as a MIME parameter, and cuts it there.
        address = f"r{number}.{nth}+x@{domain}"
        notify = dice.choice([None, "NEVER", "SUCCESS", "FAILURE", "DELAY", "SUCCESS,FAILURE", "FAILURE,DELAY", "SUCCESS,FAILURE,DELAY"])
        orcpt = f"first{nth}@example.com" if dice.random() < 0.3 else None
        fate = dice.choice(["refused", "deferred", "taken"])
        reply = dice.choice(REPLIES)
        if fate == "deferred":
            reply = tuple(text.replace(b"5.", b"4.", 1) for text in reply)
        action = {
            "refused": "failed" if notify is None or "FAILURE" in notify else None,
            "deferred": "delayed" if notify is None or "DELAY" in notify else None,
            "taken": "relayed" if notify and "SUCCESS" in notify and not dsn else None,
        }[fate]
        code = {"refused": 550, "deferred": 451, "taken": 250}[fate]
        recipients.append(dict(address=address, notify=notify, orcpt=orcpt, fate=fate, reply=reply, action=action, code=code))
    ret = dice.choice([None, "FULL", "HDRS"])
    envid = dice.choice([None, f"env{number}+2B"])
    body = dice.choice(
        [
            b"Subject: plain\r\n\r\nThe text.\r\n",
            b"Subject: eight\r\n\r\nbits: \xc3\xbc\r\n",
            b"Subject: header \xc3\xbc\r\n\r\ntext\r\n",
            b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 1000,
            b"Subject: bounds\r\n\r\n--=_\r\n\r\n.\r\n",
        ]
    )
    return dict(sender=f"s{number}+a=b@example.org", dsn=dsn, recipients=recipients, ret=ret, envid=envid, body=body)


async def submit(address, message):
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    async def reply():
        while True:
            line = await reader.readline()
            if line[3:4] != b"-":
                return line

    async def command(text):
        writer.write(text.encode() + b"\r\n")
        line = await reply()
        assert line[:1] in b"23", (text, line)

    await reply()
    await command("EHLO campaign")
    mail = f"MAIL FROM:<{message['sender']}> BODY=8BITMIME"
    mail += f" RET={message['ret']}" if message["ret"] else ""
    mail += f" ENVID={message['envid']}" if message["envid"] else ""
    await command(mail)
    for one in message["recipients"]:
        rcpt = f"RCPT TO:<{one['address']}>"
        rcpt += f" NOTIFY={one['notify']}" if one["notify"] else ""
        rcpt += f" ORCPT=rfc822;{one['orcpt']}" if one["orcpt"] else ""
        await command(rcpt)
    await command("DATA")
    text = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in message["body"].split(b"\r\n"))
    writer.write(text + b".\r\n")
    line = await reply()
    assert line.startswith(b"250"), line
    writer.close()


def check(message, notice):
    mail, to, raw = notice
    assert mail.startswith(b"MAIL FROM:<>"), mail
    assert to == [message["sender"]]
    expected = sorted(
        (one for one in message["recipients"] if one["action"]),
        key=lambda one: ["failed", "delayed", "relayed"].index(one["action"]),
    )
    report = email.message_from_bytes(raw, policy=email.policy.default)
    assert report.get_content_type() == "multipart/report" and report.get_param("report-type") == "delivery-status"
    assert report["Auto-Submitted"] == "auto-replied"
    for part in report.walk():
        assert not part.defects, part.defects
    parts = list(report.iter_parts())
    first, *blocks = parts[1].get_payload()
    assert first["Reporting-MTA"] == "dns; mta.example.org"
    envid = message["envid"]
    assert first["Original-Envelope-Id"] == (envid and envid.replace("+2B", "+"))
    assert len(blocks) == len(expected), (len(blocks), expected)
    for block, one in zip(blocks, expected):
        assert block["Final-Recipient"] == f"rfc822; {one['address']}"
        assert block["Original-Recipient"] == (one["orcpt"] and f"rfc822; {one['orcpt']}")
        assert block["Action"] == one["action"]
        classes = {"failed": "5.", "delayed": "4.", "relayed": "2."}
        assert block["Status"].startswith(classes[one["action"]]), block["Status"]
        code = str(one["code"]) if one["fate"] != "taken" else "250"
        assert block["Diagnostic-Code"].startswith(f"smtp; {code}"), block["Diagnostic-Code"]
        assert len(block["Diagnostic-Code"]) < 600 and block["Diagnostic-Code"].isascii()
    failed = [one for one in expected if one["action"] == "failed"]
    whole = bool(failed) and message["ret"] != "HDRS" and len(message["body"]) < 50_000 and message["body"].split(b"\r\n\r\n")[0].isascii()
    third = parts[2]
    if whole:
        assert third.get_content_type() == "message/rfc822" and raw.count(message["body"]) == 1
    else:
        assert third.get_content_type() == "text/rfc822-headers", third.get_content_type()
        subject = message["body"].split(b"\r\n")[0].decode()
        assert subject in third.get_content(), third.get_content()
    # The other reader: it prefers the original recipient.
    named = lambda action: {(one["orcpt"] or one["address"]).encode() for one in expected if one["action"] == action}
    temporary, permanent = all_failures(email.message_from_bytes(raw))
    assert permanent == named("failed"), (permanent, named("failed"))
    assert temporary == named("delayed"), (temporary, named("delayed"))


async def main(binary, mixes, seed):
    dice = random.Random(seed)
    plain, dsn, back = await Peer().start(), await Peer([b"DSN"]).start(), await Peer().start()
    with tempfile.TemporaryDirectory() as where:
        config = Path(where, "spool.toml")
        rules = [("plain.example", plain), ("dsn.example", dsn), ("example.org", back)]
        config.write_text(
            'hostname = "mta.example.org"\n[listen]\nsmtp = ["127.0.0.1:0"]\nadmin = "127.0.0.1:0"\n'
            '[retry]\nintervals = ["1h"]\ndelay_warning_after = "1ms"\n'
            + "".join(f'[[route.rule]]\ndomain = "{domain}"\nnext_hops = ["{peer.address}"]\n' for domain, peer in rules)
        )
        service = subprocess.Popen(
            [binary, "serve", "--config", config, "--spool", Path(where, "spool")],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            ready = dict(word.split("=", 1) for word in service.stdout.readline().split()[1:])
            told = 0
            for number in range(mixes):
                message = mix(dice, number)
                peer = dsn if message["dsn"] else plain
                for one in message["recipients"]:
                    if one["fate"] != "taken":
                        peer.answers[one["address"]] = (one["code"], one["reply"])
                await submit(ready["smtp"], message)
                if any(one["action"] for one in message["recipients"]):
                    check(message, await asyncio.wait_for(back.taken.get(), 30))
                    told += 1
            await asyncio.sleep(2)
            assert back.taken.empty(), "a notice too many"
        finally:
            service.terminate()
            service.wait()
    print(f"{mixes} mixes, {told} notices: email and flufl.bounce agree with what was to be told")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(main(arguments[0], int(arguments[1]) if len(arguments) > 1 else 200, int(arguments[2]) if len(arguments) > 2 else 1))
