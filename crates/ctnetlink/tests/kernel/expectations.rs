//! Expectations, written and read.

use ctnetlink::{
    Event, EventKind,
    request::{self, Ack, Write},
    socket::Group,
};
use flow::{Addrs, ExpectNat, Expectation, Flow, HelperName, L4, Tuple, protocol};
use nix::errno::Errno;

use crate::lab::{Kernel, drain, in_namespace, listen, new_flow, tuple};

fn ftp_control() -> Flow {
    Flow {
        helper: HelperName::new(b"ftp"),
        ..new_flow(tuple(protocol::TCP, "10.0.0.1", 1000, "10.0.0.2", 21))
    }
}

fn expected(master: &Flow) -> Expectation {
    let any = "255.255.255.255".parse().unwrap();
    let mask = Tuple {
        addrs: Addrs::new(any, any).unwrap(),
        proto: protocol::TCP,
        l4: L4::Ports {
            src: 0,
            dst: u16::MAX,
        },
    };
    Expectation {
        timeout_s: Some(300),
        class: Some(0),
        flags: Some(1),
        helper: HelperName::new(b"ftp"),
        nat: Some(ExpectNat {
            direction: 1,
            tuple: Some(tuple(protocol::TCP, "192.0.2.7", 7777, "0.0.0.0", 0)),
        }),
        ..Expectation::new(
            master.orig,
            tuple(protocol::TCP, "10.0.0.2", 0, "10.0.0.1", 2000),
            mask,
        )
    }
}

fn write(kernel: &Kernel, how: Write, expectation: &Expectation) -> Result<(), i32> {
    kernel
        .ask(|buf, seq| request::write_expectation(buf, seq, Ack::Wanted, how, expectation))
        .map(|_| ())
}

#[test]
fn an_expectation_is_kept_with_its_translation_and_told_about() {
    in_namespace(|kernel| {
        let events = listen(&Group::EXPECTATIONS);
        let master = ftp_control();
        if kernel.write(Write::Create, &master) == Err(Errno::EOPNOTSUPP as i32) {
            println!("skipped: this kernel has no ftp helper");
            return;
        }
        let asked = expected(&master);
        assert_eq!(
            write(kernel, Write::Update, &asked),
            Err(Errno::ENOENT as i32)
        );
        assert_eq!(write(kernel, Write::Create, &asked), Ok(()));
        assert_eq!(
            write(kernel, Write::Create, &asked),
            Err(Errno::EEXIST as i32)
        );

        let [told] = kernel.expectations()[..] else {
            panic!("{:?}", kernel.expectations());
        };
        assert_eq!((told.master, told.tuple), (asked.master, asked.tuple));
        assert_eq!(told.mask.l4, asked.mask.l4);
        assert_eq!(told.nat, asked.nat);
        assert_eq!((told.class, told.helper), (asked.class, asked.helper));
        assert!(told.id.is_some());
        assert!((290..=300).contains(&told.timeout_s.unwrap()));

        let one = kernel.ask(|buf, seq| request::get_expectation(buf, seq, Ack::Wanted, &asked));
        assert_eq!(one.map(|replies| replies.len()), Ok(1));
        let gone = kernel.ask(|buf, seq| {
            request::delete_expectation(buf, seq, Ack::Wanted, &asked);
        });
        assert_eq!(gone, Ok(vec![]));
        assert_eq!(kernel.expectations(), []);

        let heard = drain(&events);
        let kinds: Vec<_> = heard
            .iter()
            .map(|heard| match heard.event {
                Event::Expectation(kind, expectation) => {
                    assert_eq!(expectation.tuple, asked.tuple);
                    assert_eq!(heard.port_id, kernel.socket.port_id());
                    kind
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(kinds, [EventKind::New, EventKind::Destroy]);
    });
}

#[test]
fn a_flush_leaves_no_expectation() {
    in_namespace(|kernel| {
        let master = ftp_control();
        if kernel.write(Write::Create, &master) == Err(Errno::EOPNOTSUPP as i32) {
            println!("skipped: this kernel has no ftp helper");
            return;
        }
        assert_eq!(write(kernel, Write::Create, &expected(&master)), Ok(()));
        assert_eq!(kernel.expectations().len(), 1);
        assert_eq!(kernel.ask(request::flush_expectations), Ok(vec![]));
        assert_eq!(kernel.expectations(), []);
    });
}

#[test]
fn an_expectation_whose_master_has_no_helper_is_refused() {
    in_namespace(|kernel| {
        let master = Flow {
            helper: None,
            ..ftp_control()
        };
        assert_eq!(
            write(kernel, Write::Create, &expected(&master)),
            Err(Errno::ENOENT as i32)
        );
        kernel.create(&master);
        assert_eq!(
            write(kernel, Write::Create, &expected(&master)),
            Err(Errno::EOPNOTSUPP as i32)
        );
    });
}
