//! Carries the checksum of a batch over a change of its header, without reading the payload.
//!
//! CRC-32C is linear: changing the first bytes of a message by some difference changes its checksum by the checksum of
//! that difference, moved on by the bytes that follow. Moving on by `n` bytes is multiplying by x^(8n) modulo the
//! polynomial. So a payload that was damaged on the way keeps a checksum that does not fit, and the target
//! refuses it; recomputing the checksum would bless the damage.

/// The Castagnoli polynomial, bit-reversed, as CRC-32C uses it.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// x^(2^k) modulo the polynomial, for k = 0..32 (the order of x divides 2^32 - 1, so 32 entries are all there are).
const POWERS: [u32; 32] = powers();

/// The checksum of `new_head ++ payload`, given the one of `old_head ++ payload`.
///
/// Both heads must have the same length.
pub fn carry(old_crc: u32, old_head: &[u8], new_head: &[u8], payload_len: usize) -> u32 {
    debug_assert_eq!(old_head.len(), new_head.len());
    let difference = crc32c::crc32c(old_head) ^ crc32c::crc32c(new_head);
    old_crc ^ multiply(x_to_the(payload_len as u64 * 8), difference)
}

/// x^exponent modulo the polynomial.
fn x_to_the(mut exponent: u64) -> u32 {
    let mut product = 1 << 31; // x^0 in the reversed representation
    let mut power = 0;
    while exponent != 0 {
        if exponent & 1 == 1 {
            product = multiply(POWERS[power & 31], product);
        }
        exponent >>= 1;
        power += 1;
    }
    product
}

/// The product of two polynomials modulo the CRC polynomial.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 1u32 << 31;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 != 0 { (b >> 1) ^ POLYNOMIAL } else { b >> 1 };
        bit >>= 1;
    }
    product
}

const fn powers() -> [u32; 32] {
    let mut table = [0; 32];
    let mut power = 1 << 30; // x^1
    let mut k = 0;
    while k < 32 {
        table[k] = power;
        power = multiply(power, power);
        k += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carried_checksum_equals_the_recomputed_one() {
        let payload: Vec<u8> = (0..1_100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let old_head = [7u8; 40];
        for length in [0, 1, 2, 3, 7, 8, 61, 255, 4096, 65_537, 1_048_576, 1_100_000] {
            let mut new_head = old_head;
            new_head[length % 40] ^= 0x5a;
            new_head[39] = 0xff;
            let checksum = |head: &[u8]| crc32c::crc32c_append(crc32c::crc32c(head), &payload[..length]);
            assert_eq!(
                carry(checksum(&old_head), &old_head, &new_head, length),
                checksum(&new_head),
                "length {length}"
            );
        }
    }

    #[test]
    fn a_damaged_payload_stays_damaged() {
        let (old_head, new_head, payload) = ([1u8; 40], [2u8; 40], [3u8; 1000]);
        let original = crc32c::crc32c_append(crc32c::crc32c(&old_head), &payload);
        let mut damaged = payload;
        damaged[500] ^= 0x10;
        let carried = carry(original, &old_head, &new_head, damaged.len());
        assert_ne!(carried, crc32c::crc32c_append(crc32c::crc32c(&new_head), &damaged));
    }
}
