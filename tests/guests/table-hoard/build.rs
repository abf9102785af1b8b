//! A table whose first function comes after a million empty places.

fn main() {
    println!("cargo::rustc-link-arg=--table-base=1000000");
}
