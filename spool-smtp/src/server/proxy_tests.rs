//! Valid and invalid PROXY headers.

use super::*;
use futures_util::FutureExt;
use proptest::prelude::*;

/// Reads the header from `input`. Returns the origin and the unread input.
fn read(input: &[u8]) -> Result<(Origin, &[u8]), String> {
    let mut left = input;
    // Input in memory is always ready.
    match receive(&mut left).now_or_never().unwrap() {
        Ok(origin) => Ok((origin, left)),
        Err(ProxyError::Broken(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err("cut off".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// A header of version 2, built as the specification describes it.
fn binary_header(command: u8, family: u8, addresses: &[u8], tlvs: &[(u8, Vec<u8>)], sum: bool) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family, 0, 0]);
    header.extend(addresses);
    for (kind, value) in tlvs {
        header.push(*kind);
        header.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        header.extend(value);
    }
    if sum {
        header.extend([CRC32C, 0, 4, 0, 0, 0, 0]);
    }
    let length = u16::try_from(header.len() - HEAD).unwrap();
    header[14..16].copy_from_slice(&length.to_be_bytes());
    if sum {
        let at = header.len() - 4;
        let sum = crc32c::crc32c(&header);
        header[at..].copy_from_slice(&sum.to_be_bytes());
    }
    header
}

fn addresses(client: SocketAddr, server: SocketAddr) -> (u8, Vec<u8>) {
    let mut out = Vec::new();
    let family = match (client.ip(), server.ip()) {
        (IpAddr::V4(client), IpAddr::V4(server)) => {
            out.extend(client.octets());
            out.extend(server.octets());
            0x11
        }
        (IpAddr::V6(client), IpAddr::V6(server)) => {
            out.extend(client.octets());
            out.extend(server.octets());
            0x21
        }
        _ => panic!("of two families"),
    };
    out.extend(client.port().to_be_bytes());
    out.extend(server.port().to_be_bytes());
    (family, out)
}

fn client_of(text: &str) -> Result<(Origin, &[u8]), String> {
    Ok((Origin::Client(text.parse().unwrap()), b"EHLO"))
}

#[test]
fn lines_of_version_1_are_read_to_their_end_and_no_further() {
    for (line, expected) in [
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n",
            "192.0.2.7:56324",
        ),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            "255.255.255.255:65535",
        ),
        ("PROXY TCP6 2001:db8::7 2001:db8::1 0 25\r\n", "[2001:db8::7]:0"),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 25\r\n", "192.0.2.7:1"),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
        ),
    ] {
        let input = format!("{line}EHLO");
        assert_eq!(read(input.as_bytes()), client_of(expected), "{line}");
    }
    for line in [
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
    ] {
        let input = format!("{line}EHLO");
        assert_eq!(
            read(input.as_bytes()),
            Ok((Origin::Unnamed, &b"EHLO"[..])),
            "{line}"
        );
    }
}

#[test]
fn lines_that_are_none_are_refused() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_LINE));
    for line in [
        "EHLO client.example\r\n",
        "proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY\tTCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n",
        "PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
        "PROXY TCP4 1.2.3.256 1.2.3.4 1 1\r\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n\r\n",
        "PROXY TCP4 1.2.3.4\r1.2.3.4 1 1\r\n",
        &long,
    ] {
        let refused = read(line.as_bytes());
        assert!(
            refused.as_ref().is_err_and(|why| why != "cut off"),
            "{line:?}: {refused:?}"
        );
    }
    assert_eq!(read(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1"), Err("cut off".to_owned()));
}

#[test]
fn headers_of_version_2_are_read() {
    let (family, four) = addresses(
        "192.0.2.7:56324".parse().unwrap(),
        "198.51.100.1:25".parse().unwrap(),
    );
    let tlvs = [(0x01, b"smtp".to_vec()), (0x20, vec![1; 40]), (0x04, Vec::new())];
    for sum in [false, true] {
        let mut input = binary_header(0x21, family, &four, &tlvs, sum);
        input.extend(b"EHLO");
        assert_eq!(read(&input), client_of("192.0.2.7:56324"));
    }
    // The addresses of LOCAL are ignored, and so are those of families without an address.
    for (command, family, rest) in [
        (0x20, 0x00, &b""[..]),
        (0x20, 0x11, b"xyz"),
        (0x21, 0x00, b""),
        (0x21, 0x31, &[0; 216]),
    ] {
        let mut input = binary_header(command, family, rest, &[], false);
        input.extend(b"EHLO");
        assert_eq!(
            read(&input),
            Ok((Origin::Unnamed, &b"EHLO"[..])),
            "{command:x} {family:x}"
        );
    }
}

#[test]
fn headers_of_version_2_that_are_none_are_refused() {
    let (family, four) = addresses("192.0.2.7:1".parse().unwrap(), "198.51.100.1:25".parse().unwrap());
    for (command, family) in [
        (0x11, 0x11),
        (0x22, 0x11),
        (0x2f, 0x11),
        (0x21, 0x13),
        (0x21, 0x41),
        (0x21, 0x21),
    ] {
        let input = binary_header(command, family, &four, &[], false);
        assert_eq!(
            read(&input),
            Err(ProxyError::Malformed.to_string()),
            "{command:x} {family:x}"
        );
    }
    let udp = binary_header(0x21, 0x12, &four, &[], false);
    assert_eq!(read(&udp), Err(ProxyError::NotTcp.to_string()));
    let short = binary_header(0x21, family, &four[..11], &[], false);
    assert_eq!(read(&short), Err(ProxyError::Malformed.to_string()));
    let long = binary_header(0x21, family, &four, &[(4, vec![0; LONGEST_REST])], false);
    assert_eq!(read(&long), Err(ProxyError::TooLong.to_string()));
    let mut cut = binary_header(0x21, family, &four, &[(4, vec![0; 9])], false);
    cut[HEAD + 12 + 2] = 10;
    assert_eq!(
        read(&cut),
        Err(ProxyError::Malformed.to_string()),
        "a TLV beyond the end"
    );
    let sum = binary_header(0x21, family, &four, &[(0x03, vec![0; 3])], false);
    assert_eq!(read(&sum), Err(ProxyError::Malformed.to_string()));
}

#[test]
fn no_flipped_bit_passes_a_checksum() {
    let (family, four) = addresses("192.0.2.7:1".parse().unwrap(), "198.51.100.1:25".parse().unwrap());
    let header = binary_header(0x21, family, &four, &[(0x01, b"smtp".to_vec())], true);
    let good = read(&header).unwrap().0;
    for at in 0..header.len() {
        for bit in 0..8 {
            let mut flipped = header.clone();
            flipped[at] ^= 1 << bit;
            // LOCAL is not checked, and a change of the type of the checksum's TLV removes the checksum.
            let origin = read(&flipped).map(|(origin, _)| origin);
            let harmless = origin == Ok(Origin::Unnamed) || (at == header.len() - 7 && origin == Ok(good));
            assert!(origin.is_err() || harmless, "byte {at} bit {bit}: {origin:?}");
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        v6 in any::<bool>(), client in any::<(u128, u16)>(), server in any::<(u128, u16)>(), binary in any::<bool>(),
        tlvs in proptest::collection::vec((prop_oneof![Just(1_u8), Just(4), Just(0x20), Just(0xee)], proptest::collection::vec(any::<u8>(), 0..40)), 0..4),
        sum in any::<bool>(), behind in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let address = |(bits, port): (u128, u16)| {
            let ip: IpAddr = if v6 { Ipv6Addr::from_bits(bits).into() } else { Ipv4Addr::from_bits(bits as u32).into() };
            SocketAddr::new(ip, port)
        };
        let (client, server) = (address(client), address(server));
        let mut input = if binary {
            let (family, addresses) = addresses(client, server);
            binary_header(0x21, family, &addresses, &tlvs, sum)
        } else {
            let protocol = if v6 { "TCP6" } else { "TCP4" };
            format!("PROXY {protocol} {} {} {} {}\r\n", client.ip(), server.ip(), client.port(), server.port()).into_bytes()
        };
        input.extend(&behind);
        let expected = SocketAddr::new(client.ip().to_canonical(), client.port());
        prop_assert_eq!(read(&input), Ok((Origin::Client(expected), behind.as_slice())));
    }

    #[test]
    fn no_bytes_make_it_panic_or_read_without_bound(
        head in prop_oneof![Just(&b""[..]), Just(&b"PROXY "[..]), Just(&b"PROXY TCP4 "[..]), Just(&SIGNATURE[..]), Just(&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..])],
        tail in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let input = [head, &tail].concat();
        if let Ok((_, left)) = read(&input) {
            prop_assert!(input.len() - left.len() <= HEAD + LONGEST_REST);
        }
    }
}
