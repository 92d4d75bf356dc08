//! Processor time of both nodes, per flow.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{BOTH, Scale, micros};
use crate::book::{Book, Whose};
use crate::pair::{Pair, Setup};
use crate::{cpu, floor, load, node};

/// FT-FW at a low and a high rate, also with the original as peer.
pub(crate) fn cpu(book: &mut Book, scale: Scale, _: &[&str]) {
    for thousands in [10, 40] {
        let rate = thousands * 1000;
        let name = format!("active_{thousands}k");
        let who = [Whose::Floor, Whose::Original, Whose::Ours, Whose::Mixed];
        book.each("cpu", &who, |book, whose| {
            if whose == Whose::Floor {
                let least = floor::receiver(rate, scale.seconds)?;
                book.note(("cpu", &name), whose, micros(least));
                book.point(("cpu", "rate"), whose, f64::from(rate), micros(least));
                return Ok(());
            }
            let [active, standby] = one_load(whose, Setup::Ftfw, rate, scale.seconds)?;
            book.note(("cpu", &name), whose, micros(active));
            let standby_name = format!("standby_{thousands}k");
            book.note(("cpu", &standby_name), whose, micros(standby));
            note_points(book, "cpu", whose, rate, [active, standby]);
            Ok(())
        });
    }
}

/// The other modes and the other carrier.
pub(crate) fn modes(book: &mut Book, scale: Scale, _: &[&str]) {
    for (name, setup, rate) in [
        ("notrack", Setup::Notrack, 40_000),
        ("multicast", Setup::Multicast, 40_000),
        ("alarm", Setup::Alarm, 10_000),
    ] {
        book.each("modes", &BOTH, |book, whose| {
            let [active, standby] = one_load(whose, setup, rate, scale.seconds)?;
            book.note(("modes", &format!("{name}_active")), whose, micros(active));
            book.note(
                ("modes", &format!("{name}_standby")),
                whose,
                micros(standby),
            );
            Ok(())
        });
    }
}

/// More rates, for the plot.
pub(crate) fn rates(book: &mut Book, scale: Scale, _: &[&str]) {
    for rate in [1000, 2500, 5000, 20_000, 60_000] {
        let who = [Whose::Floor, Whose::Original, Whose::Ours];
        book.each("rates", &who, |book, whose| {
            if whose == Whose::Floor {
                let least = floor::receiver(rate, scale.seconds)?;
                book.point(("rates", "rate"), whose, f64::from(rate), micros(least));
                return Ok(());
            }
            let both = one_load(whose, Setup::Ftfw, rate, scale.seconds)?;
            note_points(book, "rates", whose, rate, both);
            Ok(())
        });
    }
}

fn note_points(book: &mut Book, measure: &str, whose: Whose, rate: u32, both: [Duration; 2]) {
    for (curve, cpu) in [("rate", both[0]), ("rate_standby", both[1])] {
        book.point((measure, curve), whose, f64::from(rate), micros(cpu));
    }
}

/// CPU time per flow of the active node and of the standby. Nothing may be lost meanwhile.
pub(super) fn one_load(
    whose: Whose,
    setup: Setup,
    rate: u32,
    seconds: u32,
) -> Result<[Duration; 2]> {
    let pair = Pair::start_as(whose, setup)?;
    let pids = pair.pids()?;
    let before = [cpu::of_process(pids[0])?, cpu::of_process(pids[1])?];
    let done = load::run(pair.a.namespace(), rate, seconds)?;
    pair.until_b_has(done.left)?;
    let spent = [
        cpu::of_process(pids[0])? - before[0],
        cpu::of_process(pids[1])? - before[1],
    ];
    ensure!(
        done.achieved >= 0.97,
        "{setup:?}, {rate} flows/s: only {:.2} of the rate was reached",
        done.achieved
    );
    let lost = node::lost_events(pair.a.namespace())?;
    ensure!(lost == 0, "{setup:?}, {rate} flows/s: {lost} events lost");
    pair.must_be_equal()?;
    let spent = spent.map(|time| time / done.flows);
    ensure!(
        spent.iter().all(|time| !time.is_zero()),
        "no processor time was taken"
    );
    Ok(spent)
}
