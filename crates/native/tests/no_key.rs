//! A client that speaks the protocol, sits at a peer's address, and shows no key at all.

mod net;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use native::transport::Transport;
use net::{PEER, address, peer, settings, two_keys};
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, ConnectionError, DatagramEvent, Endpoint, EndpointConfig, Event as QuicEvent,
    TransportErrorCode,
};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, Error, SignatureScheme, version::TLS13};

/// TLS's words for it: nothing in common, and no key shown.
const HANDSHAKE_FAILURE: u8 = 40;
const CERTIFICATE_REQUIRED: u8 = 116;

/// Believes whoever answers.
#[derive(Debug)]
struct Believer;

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Says that it has a raw key, and then shows none.
#[derive(Debug)]
struct NoKey;

impl ResolvesClientCert for NoKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn client(promises_key: bool) -> ClientConfig {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![TLS13_AES_256_GCM_SHA384],
        ..rustls::crypto::ring::default_provider()
    });
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believer));
    let mut tls = match promises_key {
        true => tls.with_client_cert_resolver(Arc::new(NoKey)),
        false => tls.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![b"conntrackd/native/1".to_vec()];
    let initial = TLS13_AES_128_GCM_SHA256.tls13().unwrap().quic_suite();
    let quic = QuicClientConfig::with_initial(Arc::new(tls), initial.unwrap()).unwrap();
    ClientConfig::new(Arc::new(quic))
}

#[test]
fn a_client_without_any_key_gets_no_connection_and_is_told_why() {
    must_be_refused(client(false), HANDSHAKE_FAILURE);
    must_be_refused(client(true), CERTIFICATE_REQUIRED);
}

#[track_caller]
fn must_be_refused(config: ClientConfig, alert: u8) {
    let [low, high] = two_keys();
    let (here, there) = (address(1, 0), address(2, 0));
    let mut now = Instant::now();
    let own = settings(&high, vec![peer(&[here], &[&low])]);
    let mut server = Transport::new(own, [7; 32], now).unwrap();
    let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
    let (handle, mut client) = endpoint.connect(now, config, there, "conntrackd").unwrap();
    let mut end = None;
    // A handshake that works takes four rounds.
    for _ in 0..100 {
        now += Duration::from_millis(5);
        let mut buffer = Vec::new();
        while client.poll_transmit(now, 1, &mut buffer).is_some() {
            server.handle_datagram(now, here, None, None, BytesMut::from(&buffer[..]));
            buffer.clear();
        }
        if server.poll_timeout().is_some_and(|at| at <= now) {
            server.handle_timeout(now);
        }
        while server.poll_transmit(now, &mut buffer).is_some() {
            let datagram = BytesMut::from(&buffer[..]);
            let event = endpoint.handle(now, there, None, None, datagram, &mut Vec::new());
            if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
                client.handle_event(event);
            }
            buffer.clear();
        }
        while let Some(event) = client.poll_endpoint_events() {
            if let Some(event) = endpoint.handle_event(handle, event) {
                client.handle_event(event);
            }
        }
        if client.poll_timeout().is_some_and(|at| at <= now) {
            client.handle_timeout(now);
        }
        while let Some(event) = client.poll() {
            if let QuicEvent::ConnectionLost { reason } = event {
                end.get_or_insert(reason);
            }
        }
    }
    let Some(ConnectionError::ConnectionClosed(close)) = end else {
        panic!("not refused: {end:?}");
    };
    assert_eq!(close.error_code, TransportErrorCode::crypto(alert));
    let report = server.report(PEER);
    assert!(
        !report.is_connected && report.connections == 0,
        "{report:?}"
    );
}
