//! The smallest native program: what a whole process costs before it does anything.

fn main() {
    println!("hello");
}
