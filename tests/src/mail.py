# The mail server of mail.rs: speaks SMTP with or without TLS, and prints each letter as a line of JSON. Keeps nothing, sends
# nothing on.
import asyncio, datetime, ipaddress, json, ssl, sys
from email import message_from_bytes
from email.header import decode_header, make_header

from aiosmtpd.smtp import AuthResult, SMTP

port, security, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
login = sys.argv[4:6]


def certificate():
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    with open(path, "wb") as file:
        file.write(made.public_bytes(serialization.Encoding.PEM))
    with open(path + ".key", "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, path + ".key")
    return context


class Handler:
    async def handle_DATA(self, server, session, envelope):
        letter = message_from_bytes(envelope.content)
        text = letter.get_payload(decode=True).decode()
        print(
            json.dumps(
                {
                    "from": envelope.mail_from,
                    "to": envelope.rcpt_tos,
                    "subject": str(make_header(decode_header(letter["subject"]))),
                    "id": letter["message-id"],
                    "text": text.replace("\r\n", "\n"),
                    "private": session.ssl is not None or security == "tls",
                    "user": session.auth_data if session.authenticated else None,
                }
            ),
            flush=True,
        )
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    given = [data.login.decode(), data.password.decode()]
    return AuthResult(success=given == login, handled=False, auth_data=given[0])


context = certificate() if security != "none" else None
options = {}
if login:
    options = {"authenticator": authenticate, "auth_required": True, "auth_require_tls": security == "starttls"}
if security == "starttls":
    options.update(tls_context=context, require_starttls=True)


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Handler(), hostname="localhost", **options),
        "127.0.0.1",
        port,
        ssl=context if security == "tls" else None,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    # Its standard input ends when the test's process does.
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
