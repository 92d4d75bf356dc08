//! Writing into a warm buffer, reading and digesting allocate nothing.
#![allow(unsafe_code)]

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use common::{nat_flow, plain_flow};
use native::digest::{DigestKey, RangeDigest};
use native::message::{Decoder, Encoder, Fields, Message};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is the one needed here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the one needed here.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is the one needed here.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// A thousand flows: new, changed, proved, gone.
fn round(
    encoder: &mut Encoder,
    decoder: &mut Decoder,
    digests: &mut RangeDigest,
    buf: &mut Vec<u8>,
) {
    let flow = nat_flow();
    buf.clear();
    for handle in 0..1000 {
        encoder.new_flow(buf, handle, &flow);
        encoder.update_flow(buf, handle, Fields::STATUS | Fields::TCP_STATE, &flow);
        digests.add_flow(handle, &flow);
        encoder.gone_flow(buf, handle);
    }
    digests.finish();
    let mut changed = plain_flow();
    let mut count = 0;
    for piece in buf.chunks(1000) {
        decoder.push(piece);
        while let Some(message) = decoder.next().unwrap() {
            count += 1;
            if let Message::UpdateFlow { changes, .. } = message.unwrap() {
                changes.apply(&mut changed).unwrap();
            }
        }
    }
    assert_eq!(count, 3000);
}

#[test]
fn messages_and_digests_cost_no_allocation() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let mut digests = RangeDigest::new(DigestKey([0; 16]), Fields::ALL);
    let mut buf = Vec::new();
    round(&mut encoder, &mut decoder, &mut digests, &mut buf);
    let warm = allocations(|| round(&mut encoder, &mut decoder, &mut digests, &mut buf));
    assert_eq!(warm, 0);
}
