//! A real web server on this machine, as small as one can be: what it answers is a function of what it was asked.
//!
//! HTTP/1.1 over plain sockets, a connection a request. It knows nothing of what is tested with it.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `GET /x?y`, without the protocol.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As long as `content-length` says.
    pub body: Vec<u8>,
}

impl Asked {
    /// The value of a header; empty when it was not sent.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// What to answer.
pub enum Told {
    /// Status, headers as lines that end in `\r\n`, and a body.
    Whole(u16, String, Vec<u8>),
    /// A body that goes on, a byte at a time, for as long as somebody reads.
    Drip,
    /// A body of so many bytes; `false`: without saying so before.
    Long(u64, bool),
    /// Takes the request and says nothing, until the other side hangs up.
    Silence,
    /// Half of what was promised, and the end.
    Torn,
}

impl Told {
    /// 200 and JSON.
    pub fn json(text: impl Into<String>) -> Self {
        Self::Whole(
            200,
            "content-type: application/json\r\n".to_owned(),
            text.into().into_bytes(),
        )
    }
}

/// A server that runs until the test's process ends.
pub struct Web {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Web {
    /// Starts one.
    ///
    /// # Panics
    /// This machine has no port left.
    pub fn new(answer: impl Fn(&Asked) -> Told + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                thread::spawn(move || {
                    if let Some(asked) = read(&stream) {
                        log.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(asked.clone());
                        // Whoever hangs up has had enough.
                        let _ = tell(&stream, answer(&asked));
                    }
                });
            }
        });
        Self { address, asked }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Everything that it was asked.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut next = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    };
    let line = next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let mut headers = Vec::new();
    loop {
        let line = next()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut asked = Asked {
        line,
        headers,
        body: Vec::new(),
    };
    asked
        .body
        .resize(asked.header("content-length").parse().unwrap_or(0), 0);
    reader.read_exact(&mut asked.body).ok()?;
    Some(asked)
}

fn tell(mut stream: &TcpStream, told: Told) -> std::io::Result<()> {
    match told {
        Told::Whole(status, headers, body) => {
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
            )?;
            stream.write_all(&body)
        }
        Told::Drip => {
            stream.set_nodelay(true)?;
            write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            loop {
                stream.write_all(b".")?;
                // As slow as the one who reads lets it be: a probe for the other side's end, with a time.
                stream.set_read_timeout(Some(std::time::Duration::from_millis(50)))?;
                if matches!(stream.read(&mut [0]), Ok(0)) {
                    return Ok(());
                }
            }
        }
        Told::Long(bytes, promised) => {
            let length = if promised {
                format!("content-length: {bytes}\r\n")
            } else {
                String::new()
            };
            write!(stream, "HTTP/1.1 200 OK\r\n{length}connection: close\r\n\r\n")?;
            let chunk = vec![b'x'; 1 << 16];
            for _ in 0..bytes.div_ceil(1 << 16) {
                stream.write_all(&chunk)?;
            }
            Ok(())
        }
        Told::Silence => {
            let _ = stream.read(&mut [0])?;
            Ok(())
        }
        Told::Torn => write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"),
    }
}
