//! 34: hands the host values that no compiler would make: texts that are no UTF-8, lists beyond its memory, cases
//! that do not exist, a place for the answer that is none.

use kit::{Answer, Context, Failure};

#[link(wasm_import_module = "sereno:plugin/log@0.1.0")]
unsafe extern "C" {
    #[link_name = "write"]
    fn log(level: usize, level_length: usize, text: usize, text_length: usize, fields: usize, count: usize);
}

#[link(wasm_import_module = "sereno:plugin/database-read@0.1.0")]
unsafe extern "C" {
    #[link_name = "count"]
    fn count(
        database: usize,
        database_length: usize,
        table: usize,
        table_length: usize,
        filter: usize,
        conditions: usize,
        answer: usize,
    );
}

/// A condition as the canonical ABI lays it out.
#[repr(C, align(8))]
struct Condition {
    column: [usize; 2],
    op: [usize; 2],
    case: u8,
    value: u64,
}

fn text(text: &'static str) -> [usize; 2] {
    [text.as_ptr().expose_provenance(), text.len()]
}

fn run(context: &Context) -> Answer {
    let bad = [0xff_u8, 0xfe, 0x80];
    let bad = bad.as_ptr().expose_provenance();
    let good = text("info");
    let condition = Condition {
        column: text("at"),
        op: text("<"),
        case: 200,
        value: 0,
    };
    let filter = (&raw const condition).expose_provenance();
    let mut answer = [0_u64; 4];
    let answer = (&raw mut answer).expose_provenance();
    let (app, sessions) = (text("app"), text("sessions"));
    // SAFETY: there is none, and the host must not need any.
    unsafe {
        match kit::param(context, "how") {
            "utf-8" => log(good[0], good[1], bad, 3, 8, 0),
            "beyond" => log(good[0], good[1], 0xffff_0000, 0x1000, 8, 0),
            "wrapping" => log(good[0], good[1], 0xffff_fff0, 0x20, 8, 0),
            "list" => log(good[0], good[1], good[0], good[1], 8, 0x0fff_ffff),
            "unaligned" => log(good[0], good[1], good[0], good[1], 9, 1),
            "case" => count(app[0], app[1], sessions[0], sessions[1], filter, 1, answer),
            "answer" => count(app[0], app[1], sessions[0], sessions[1], 8, 0, 0xffff_fff8),
            how => return Err(Failure::InvalidParams(how.to_owned())),
        }
    }
    kit::done()
}

kit::guest!(run);
