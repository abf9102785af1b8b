//! Tar archives that arrive piece by piece: one file taken out of one, or all of it unpacked.
//!
//! The archive is read on a thread of its own, which waits for pieces; no more than a few of them lie between.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;

/// Pieces that wait to be read.
const WAITING: usize = 4;

/// The end of an archive at which its bytes go in.
pub(super) struct Feeder {
    pieces: Sender<Vec<u8>>,
    reading: JoinHandle<io::Result<bool>>,
}

impl Feeder {
    fn start(read: impl FnOnce(Pieces) -> io::Result<bool> + Send + 'static) -> Self {
        let (pieces, from) = mpsc::channel(WAITING);
        let pieces_to_read = Pieces {
            from,
            piece: Vec::new(),
            at: 0,
        };
        Self {
            pieces,
            reading: tokio::task::spawn_blocking(move || read(pieces_to_read)),
        }
    }

    /// Hands on the next piece. Whoever reads may have seen enough: that is told at the end.
    pub(super) async fn feed(&mut self, piece: Vec<u8>) {
        let _ = self.pieces.send(piece).await;
    }

    /// What became of it.
    pub(super) async fn end(self) -> io::Result<bool> {
        drop(self.pieces);
        self.reading.await.map_err(io::Error::other)?
    }
}

/// The end at which they come out.
struct Pieces {
    from: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.from.blocking_recv() {
                Some(piece) => (self.piece, self.at) = (piece, 0),
                None => return Ok(0),
            }
        }
        let read = into.len().min(self.piece.len() - self.at);
        into[..read].copy_from_slice(&self.piece[self.at..self.at + read]);
        self.at += read;
        Ok(read)
    }
}

/// Takes the file `name` out of an archive, to `to`; false: it is not in it.
pub(super) fn extract(name: &'static str, to: &Path) -> Feeder {
    let to = to.to_owned();
    Feeder::start(move |pieces| {
        let mut is_there = false;
        for entry in tar::Archive::new(pieces).entries()? {
            let mut entry = entry?;
            if entry.path()?.as_os_str() == name {
                io::copy(&mut entry, &mut File::create(&to)?)?;
                is_there = true;
            }
        }
        Ok(is_there)
    })
}

/// Unpacks an archive into the new folder `to`. Nothing in it leads out of there.
pub(super) fn unpack(to: &Path) -> Feeder {
    let to = to.to_owned();
    Feeder::start(move |pieces| {
        std::fs::create_dir(&to)?;
        let mut archive = tar::Archive::new(pieces);
        archive.set_preserve_permissions(true);
        archive.set_preserve_mtime(false);
        archive.unpack(&to)?;
        Ok(true)
    })
}
