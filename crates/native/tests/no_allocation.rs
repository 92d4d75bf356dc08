//! Writing into a warm buffer, reading and digesting allocate nothing.

mod common;

use common::{nat_flow, plain_flow};
use native::digest::{DigestKey, RangeDigest};
use native::message::{Decoder, Encoder, Fields, Message};

fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
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
