//! A message as a letter over SMTP: one letter, one conversation, plain text.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::{ContentType, MessageId};
use lettre::transport::smtp::AsyncSmtpTransport;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncTransport as _, Message as Letter, Tokio1Executor};
use sereno_core::alert::Message;
use sereno_core::ports::sinks::SinkError;
use sereno_core::sink::MailSecurity;

use super::text;

/// Where letters go and who writes them, secrets resolved.
pub(super) struct Post {
    pub server: String,
    pub security: MailSecurity,
    pub from: String,
    pub to: Vec<String>,
    pub login: Option<(String, String)>,
}

impl Post {
    /// A letter that the server did not take for one of its readers is taken for none.
    pub(super) async fn send(self, message: &Message, timeout: Duration) -> Result<(), SinkError> {
        let letter = self.letter(message)?;
        let (host, port) = self.host_and_port()?;
        let tls = || {
            TlsParameters::new(host.clone()).map_err(|_| SinkError::new("there are no certificates to trust"))
        };
        let tls = match self.security {
            MailSecurity::StartTls => Tls::Required(tls()?),
            MailSecurity::Tls => Tls::Wrapper(tls()?),
            MailSecurity::None => Tls::None,
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host)
            .port(port)
            .tls(tls)
            .timeout(Some(timeout));
        if let Some((user, password)) = self.login {
            transport = transport.credentials(Credentials::new(user, password));
        }
        let transport = transport.build();
        let sending = transport.send(letter);
        // The transport's own limit is for each step; all of them together have no more.
        match tokio::time::timeout(timeout, sending).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(SinkError::new("the mail server did not answer in time")),
        }
    }

    fn letter(&self, message: &Message) -> Result<Letter, SinkError> {
        let mailbox = |text: &str| {
            text.parse::<Mailbox>()
                .map_err(|_| SinkError::new("its `from` or one of its `to` is no mail address: `ops@example.com` or `Name <ops@example.com>`"))
        };
        let from = mailbox(&self.from)?;
        // The same at every try, so that a reader's program shows a letter that came twice once.
        let id = MessageId::from(format!("<{}@{}>", message.id, from.email.domain()));
        let mut letter = Letter::builder()
            .header(id)
            .from(from)
            .subject(format!("[{}] {}", message.kind.label(), message.title))
            .date(message.at.into())
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            letter = letter.to(mailbox(to)?);
        }
        letter
            .body(text(message))
            .map_err(|_| SinkError::new("the letter could not be written"))
    }

    fn host_and_port(&self) -> Result<(String, u16), SinkError> {
        match self.server.rsplit_once(':') {
            // An address of version 6 has colons of its own, in brackets.
            Some((host, port)) if !port.ends_with(']') => match port.parse() {
                Ok(port) => Ok((host.to_owned(), port)),
                Err(_) => Err(SinkError::new("its `server` is neither `HOST` nor `HOST:PORT`")),
            },
            _ => Ok((self.server.clone(), self.security.port())),
        }
    }
}

/// What a server says may repeat a password; its code does not.
fn failed(error: &lettre::transport::smtp::Error) -> SinkError {
    match error.status() {
        Some(code) => SinkError::new(format!("the mail server answered {code}")),
        None if error.is_timeout() => SinkError::new("the mail server did not answer in time"),
        None if error.is_tls() || is_of_tls(error) => {
            SinkError::new("no private way to the mail server could be made (TLS)")
        }
        None if error.is_client() => {
            SinkError::new("the mail server offers no private way (STARTTLS) or no way to log in")
        }
        None => SinkError::new("the mail server could not be reached"),
    }
}

/// A handshake that fails is an error of the connection to the transport, and invalid data below it.
fn is_of_tls(error: &lettre::transport::smtp::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::InvalidData;
        }
        source = error.source();
    }
    false
}
