//! lettre against a listener with TLS.

use super::*;

/// A listener and its sessions on a runtime of their own.
struct Server {
    address: std::net::SocketAddr,
    intake: Arc<MemoryIntake>,
    _stop: watch::Sender<bool>,
}

async fn listen(pki: &Pki, opening: Opening) -> Server {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut listener = Listener::from_std(socket).unwrap();
    listener.opening = opening;
    let intake = Arc::new(MemoryIntake::default());
    let (stop, stopped) = watch::channel(false);
    let place = |start: SessionStart| drop(tokio::spawn(start()));
    tokio::spawn(listener.run(
        watch::channel(Arc::new(config(pki))).1,
        intake.clone(),
        place,
        stopped,
    ));
    Server {
        address,
        intake,
        _stop: stop,
    }
}

#[tokio::test]
async fn lettre_sends_under_tls_and_checks_the_certificate() {
    let pki = pki();
    let message = Message::builder()
        .from("a@b.org".parse().unwrap())
        .to("c@d.org".parse().unwrap())
        .header(ContentType::TEXT_PLAIN)
        .body("hello".to_owned())
        .unwrap();
    for opening in [Opening::Plain, Opening::ImplicitTls] {
        let server = listen(pki, opening).await;
        let parameters = |pki: &Pki| {
            TlsParameters::builder("localhost".to_owned())
                .add_root_certificate(Root::from_pem(pki.pem().as_bytes()).unwrap())
                .build_rustls()
                .unwrap()
        };
        let transport = |parameters| {
            let tls = match opening {
                Opening::Plain => Tls::Required(parameters),
                Opening::ImplicitTls => Tls::Wrapper(parameters),
            };
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
                .port(server.address.port())
                .tls(tls)
                .build()
        };
        let sent = transport(parameters(pki)).send(message.clone()).await;
        assert!(sent.unwrap().is_positive());
        assert!(
            transport(parameters(&Pki::new()))
                .send(message.clone())
                .await
                .is_err()
        );
        let mails = server.intake.mails();
        assert_eq!(mails.len(), 1);
        assert!(mails[0].source.tls.is_some());
    }
}
