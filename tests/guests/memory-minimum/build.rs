//! A memory that starts with 128 MiB.

fn main() {
    println!("cargo::rustc-link-arg=--initial-memory=134217728");
}
