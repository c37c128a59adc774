//! Leaks of a program in Rust: from a method of a trait, a generic function and a closure. Speaks the protocol of truth.h; blocks are
//! the global allocator's, which is libc's malloc. The functions of the truth are those that the program wrote; frame 0 is the
//! allocator's glue.
use std::io::{BufRead, Write};
use std::mem::forget;

struct Store<T> {
    kept: Vec<Box<T>>,
}

trait Keep {
    fn keep_boxes(&mut self, count: usize);
}

impl Keep for Store<[u8; 512]> {
    #[inline(never)]
    fn keep_boxes(&mut self, count: usize) {
        for _ in 0..count {
            self.kept.push(Box::new([1; 512]));
        }
    }
}

#[inline(never)]
fn keep_generic<T: Clone>(value: T, count: usize) {
    let copies: Vec<T> = vec![value; count];
    forget(copies);
}

#[inline(never)]
fn call<F: Fn(usize)>(keep: F, times: usize) {
    for _ in 0..times {
        keep(700);
    }
}

#[inline(never)]
fn keep_in_closure(times: usize) {
    call(|bytes| forget(Vec::<u8>::with_capacity(bytes)), times);
}

fn main() {
    let waits = std::env::args().any(|argument| argument == "--wait");
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    let mut line = String::with_capacity(64);
    let mut store = Store { kept: Vec::with_capacity(100) };
    writeln!(output, "ready {}", std::process::id()).unwrap();
    if waits {
        input.read_line(&mut line).unwrap();
    }
    store.keep_boxes(100);
    keep_generic(7u64, 1000);
    keep_generic("seven", 100);
    keep_in_closure(10);
    writeln!(output, "leak keep_boxes {} 100", 100 * 512).unwrap();
    writeln!(output, "leak keep_generic {} 2", 8 * 1000 + 16 * 100).unwrap();
    writeln!(output, "leak keep_in_closure {} 10", 10 * 700).unwrap();
    writeln!(output, "done").unwrap();
    output.flush().unwrap();
    if waits {
        line.clear();
        input.read_line(&mut line).unwrap();
    }
    forget(store);
}
