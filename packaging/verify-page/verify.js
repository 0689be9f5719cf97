"use strict";
// Whether a terminal's certificate is to be believed: the same rules, in the same order, as
// `kiosk_sealing::certificate::verify`. A function of a text, keys and a time: no network, no page,
// no clock. Written in ECMAScript 5 without big integers, so that a telephone of many years ago runs
// it: numbers of 256 bits are eleven limbs of 24 bits, multiplied as Montgomery does.

var Certificate = (function () {
  var TEXT_BYTES_MAX = 2048;
  var LIFE_S_MAX = 86400;
  var SKEW_S_MAX = 600;
  var PREFIX = "KR1:";
  var DOMAIN = "kiosk.readiness.v1";
  var LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
  var SM2_SIGNER = "1234567812345678";
  var TWO_32 = 4294967296;

  function refuse(code, detail) {
    throw { code: "certificate." + code, detail: detail || {} };
  }

  // --- bytes -------------------------------------------------------------------------------------

  function bytesOf(text) {
    // ASCII only: the words of this profile.
    var bytes = [];
    for (var index = 0; index < text.length; index += 1) bytes.push(text.charCodeAt(index));
    return bytes;
  }

  function utf8Length(text) {
    var length = 0;
    for (var index = 0; index < text.length; index += 1) {
      var unit = text.charCodeAt(index);
      var isPair = unit >= 0xd800 && unit < 0xdc00 && (text.charCodeAt(index + 1) & 0xfc00) === 0xdc00;
      if (isPair) index += 1;
      length += unit < 0x80 ? 1 : unit < 0x800 ? 2 : isPair ? 4 : 3;
    }
    return length;
  }

  // Strict UTF-8 (RFC 3629): no overlong forms, no surrogates.
  function utf8(bytes) {
    var text = "";
    var at = 0;
    while (at < bytes.length) {
      var first = bytes[at];
      var more = 0, point = first, least = 0;
      if (first >= 0x80) {
        if (first >= 0xc2 && first < 0xe0) { more = 1; point = first & 31; least = 0x80; }
        else if (first >= 0xe0 && first < 0xf0) { more = 2; point = first & 15; least = 0x800; }
        else if (first >= 0xf0 && first < 0xf5) { more = 3; point = first & 7; least = 0x10000; }
        else refuse("malformed");
      }
      for (var step = 1; step <= more; step += 1) {
        var next = bytes[at + step];
        if (next === undefined || (next & 0xc0) !== 0x80) refuse("malformed");
        point = point * 64 + (next & 63);
      }
      if (point < least || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) refuse("malformed");
      if (point < 0x10000) text += String.fromCharCode(point);
      else text += String.fromCharCode(0xd7c0 + (point >> 10), 0xdc00 + (point & 0x3ff));
      at += more + 1;
    }
    return text;
  }

  function hex(bytes) {
    return bytes.map(function (byte) { return (byte + 256).toString(16).slice(1); }).join("");
  }

  function unhex(digits) {
    var bytes = [];
    for (var at = 0; at < digits.length; at += 2) bytes.push(parseInt(digits.slice(at, at + 2), 16));
    return bytes;
  }

  function isSame(one, other) {
    return one.length === other.length && one.every(function (byte, at) { return byte === other[at]; });
  }

  function fromBase45(text) {
    var bytes = [];
    for (var at = 0; at < text.length; at += 3) {
      var group = text.slice(at, at + 3);
      var value = 0;
      for (var place = group.length - 1; place >= 0; place -= 1) {
        var digit = LETTERS.indexOf(group.charAt(place));
        if (digit < 0) refuse("malformed");
        value = value * 45 + digit;
      }
      if (group.length === 1 || value > (group.length === 3 ? 65535 : 255)) refuse("malformed");
      if (group.length === 3) bytes.push(value >> 8);
      bytes.push(value & 255);
    }
    return bytes;
  }

  function fromBase64url(text) {
    var letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    var bytes = [];
    var held = 0, bits = 0;
    for (var index = 0; index < text.length; index += 1) {
      var digit = letters.indexOf(text.charAt(index));
      if (digit < 0) return null;
      held = ((held << 6) | digit) & 0xffff;
      bits += 6;
      if (bits >= 8) {
        bits -= 8;
        bytes.push((held >> bits) & 255);
      }
    }
    return bits < 6 && (held & ((1 << bits) - 1)) === 0 ? bytes : null;
  }

  // --- whole numbers of 64 bits: two halves, since a number of this language holds 53 ---------------

  // Whether the first one is the smaller.
  function isLess(one, other) {
    return one.high !== other.high ? one.high < other.high : one.low < other.low;
  }

  // The difference, where the first is not the smaller; exact as long as it is below 2^53.
  function minus(one, other) {
    return (one.high - other.high) * TWO_32 + (one.low - other.low);
  }

  // Of a whole number that is not negative.
  function wide(value) {
    return { high: Math.floor(value / TWO_32), low: value % TWO_32 };
  }

  function decimal(value) {
    var high = value.high, low = value.low, digits = "";
    do {
      var rest = (high % 10) * TWO_32 + low;
      digits = String(rest % 10) + digits;
      high = Math.floor(high / 10);
      low = Math.floor(rest / 10);
    } while (high > 0 || low > 0);
    return digits;
  }

  // --- CBOR in its one deterministic form (RFC 8949 §4.2) ------------------------------------------

  function Reader(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  Reader.prototype.take = function (length) {
    if (length > this.bytes.length - this.at) refuse("malformed");
    var taken = this.bytes.slice(this.at, this.at + length);
    this.at += length;
    return taken;
  };

  Reader.prototype.head = function () {
    var first = this.take(1)[0];
    var short = first & 31;
    if (short < 24) return { major: first >> 5, high: 0, low: short };
    if (short > 27) refuse("malformed");
    var bytes = this.take(1 << (short - 24));
    var high = 0, low = 0;
    bytes.forEach(function (byte, at) {
      if (at < bytes.length - 4) high = high * 256 + byte;
      else low = low * 256 + byte;
    });
    // The shortest form is the only one.
    var isShortest = short === 24 ? low >= 24 : short === 25 ? low >= 0x100 : short === 26 ? low >= 0x10000 : high > 0;
    if (!isShortest) refuse("malformed");
    return { major: first >> 5, high: high, low: low };
  };

  Reader.prototype.expect = function (major) {
    var head = this.head();
    if (head.major !== major) refuse("malformed");
    return head;
  };

  // A number below 2^32 that is not above `most`.
  Reader.prototype.length = function (major, most) {
    var head = this.expect(major);
    if (head.high > 0 || head.low > most) refuse("malformed");
    return head.low;
  };

  // A label. One beyond 2^53 is not exact, and equals no label that is known either way.
  Reader.prototype.int = function () {
    var head = this.head();
    if (head.major > 1 || head.high >= TWO_32 / 2) refuse("malformed");
    var value = head.high * TWO_32 + head.low;
    return head.major === 0 ? value : -value - 1;
  };

  Reader.prototype.string = function () {
    return this.take(this.length(2, this.bytes.length));
  };

  Reader.prototype.exactly = function (length) {
    var bytes = this.string();
    if (bytes.length !== length) refuse("malformed");
    return bytes;
  };

  Reader.prototype.text = function () {
    return utf8(this.take(this.length(3, this.bytes.length)));
  };

  Reader.prototype.bool = function () {
    var byte = this.take(1)[0];
    if (byte !== 0xf4 && byte !== 0xf5) refuse("malformed");
    return byte === 0xf5;
  };

  Reader.prototype.map = function (most, each) {
    var count = this.length(5, most);
    var previous = null;
    for (var entry = 0; entry < count; entry += 1) {
      var from = this.at;
      var key = this.int();
      var written = hex(this.bytes.slice(from, this.at));
      // Of two keys the shorter stands first: a prefix cannot be a whole key.
      if (previous !== null && !(previous < written)) refuse("malformed");
      previous = written;
      each(key, this);
    }
  };

  Reader.prototype.end = function () {
    if (this.at !== this.bytes.length) refuse("malformed");
  };

  function head(major, value) {
    if (value < 24) return [(major << 5) | value];
    if (value < 256) return [(major << 5) | 24, value];
    return [(major << 5) | 25, value >> 8, value & 255];
  }

  // --- digests -------------------------------------------------------------------------------------

  // The constants of FIPS 180-4 §4.2.3 and §5.3.5: bits of the cube roots of the first 80 primes, and
  // of the square roots of the first eight. SHA-256 has the upper halves of the first 64 (§4.2.2).
  var ROUNDS =
    "428a2f98d728ae227137449123ef65cdb5c0fbcfec4d3b2fe9b5dba58189dbbc3956c25bf348b53859f111f1b605d019" +
    "923f82a4af194f9bab1c5ed5da6d8118d807aa98a303024212835b0145706fbe243185be4ee4b28c550c7dc3d5ffb4e2" +
    "72be5d74f27b896f80deb1fe3b1696b19bdc06a725c71235c19bf174cf692694e49b69c19ef14ad2efbe4786384f25e3" +
    "0fc19dc68b8cd5b5240ca1cc77ac9c652de92c6f592b02754a7484aa6ea6e4835cb0a9dcbd41fbd476f988da831153b5" +
    "983e5152ee66dfaba831c66d2db43210b00327c898fb213fbf597fc7beef0ee4c6e00bf33da88fc2d5a79147930aa725" +
    "06ca6351e003826f142929670a0e6e7027b70a8546d22ffc2e1b21385c26c9264d2c6dfc5ac42aed53380d139d95b3df" +
    "650a73548baf63de766a0abb3c77b2a881c2c92e47edaee692722c851482353ba2bfe8a14cf10364a81a664bbc423001" +
    "c24b8b70d0f89791c76c51a30654be30d192e819d6ef5218d69906245565a910f40e35855771202a106aa07032bbd1b8" +
    "19a4c116b8d2d0c81e376c085141ab532748774cdf8eeb9934b0bcb5e19b48a8391c0cb3c5c95a634ed8aa4ae3418acb" +
    "5b9cca4f7763e373682e6ff3d6b2b8a3748f82ee5defb2fc78a5636f43172f6084c87814a1f0ab728cc702081a6439ec" +
    "90befffa23631e28a4506cebde82bde9bef9a3f7b2c67915c67178f2e372532bca273eceea26619cd186b8c721c0c207" +
    "eada7dd6cde0eb1ef57d4f7fee6ed17806f067aa72176fba0a637dc5a2c898a6113f9804bef90dae1b710b35131c471b" +
    "28db77f523047d8432caab7b40c724933c9ebe0a15c9bebc431d67c49c100d4c4cc5d4becb3e42b6597f299cfc657e2a" +
    "5fcb6fab3ad6faec6c44198c4a475817";
  var START =
    "6a09e667f3bcc908bb67ae8584caa73b3c6ef372fe94f82ba54ff53a5f1d36f1" +
    "510e527fade682d19b05688c2b3e6c1f1f83d9abfb41bd6b5be0cd19137e2179";

  // The halves of 64 bits, upper then lower, as signed numbers of 32 bits.
  function halves(digits) {
    var words = [];
    for (var at = 0; at < digits.length; at += 8) words.push(parseInt(digits.slice(at, at + 8), 16) | 0);
    return words;
  }

  function upper(words, count) {
    return words.filter(function (word, at) { return at % 2 === 0 && at < count * 2; });
  }

  // FIPS 180-4 §5.1: a bit, zeros, and the length in bits, which stands in the last eight bytes (of
  // the sixteen that SHA-512 has for it, the others are zero).
  function pad(message, block, lengthBytes) {
    var padded = message.slice();
    padded.push(0x80);
    while (padded.length % block !== block - lengthBytes) padded.push(0);
    for (var zero = 8; zero < lengthBytes; zero += 1) padded.push(0);
    var bits = wide(message.length * 8);
    return padded.concat(bytes32([bits.high, bits.low]));
  }

  function sha512(message) {
    var rounds = halves(ROUNDS);
    var state = halves(START);
    var padded = pad(message, 128, 16);
    for (var from = 0; from < padded.length; from += 128) compress512(state, padded, from, rounds);
    return bytes32(state);
  }

  function compress512(state, block, from, rounds) {
    var words = words32(block, from, 32);
    var at, low, high;
    for (at = 32; at < 160; at += 2) {
      var eh = words[at - 30], el = words[at - 29], lh = words[at - 4], ll = words[at - 3];
      var s0h = joined(eh, el, 1) ^ joined(eh, el, 8) ^ (eh >>> 7);
      var s0l = joined(el, eh, 1) ^ joined(el, eh, 8) ^ joined(el, eh, 7);
      var s1h = joined(lh, ll, 19) ^ joined(ll, lh, 29) ^ (lh >>> 6);
      var s1l = joined(ll, lh, 19) ^ joined(lh, ll, 29) ^ joined(ll, lh, 6);
      low = (words[at - 31] >>> 0) + (s0l >>> 0) + (words[at - 13] >>> 0) + (s1l >>> 0);
      high = words[at - 32] + s0h + words[at - 14] + s1h + Math.floor(low / TWO_32);
      words.push(high | 0, low | 0);
    }
    var v = state.slice();
    for (at = 0; at < 160; at += 2) {
      var ah = v[0], al = v[1], bh = v[2], bl = v[3], ch = v[4], cl = v[5];
      var xh = v[8], xl = v[9], fh = v[10], fl = v[11], gh = v[12], gl = v[13];
      // Σ1 and Ch.
      var t1h = joined(xh, xl, 14) ^ joined(xh, xl, 18) ^ joined(xl, xh, 9);
      var t1l = joined(xl, xh, 14) ^ joined(xl, xh, 18) ^ joined(xh, xl, 9);
      low = (v[15] >>> 0) + (t1l >>> 0) + (((xl & fl) ^ (~xl & gl)) >>> 0) + (rounds[at + 1] >>> 0) + (words[at + 1] >>> 0);
      high = v[14] + t1h + ((xh & fh) ^ (~xh & gh)) + rounds[at] + words[at] + Math.floor(low / TWO_32);
      t1h = high | 0;
      t1l = low | 0;
      // Σ0 and Maj.
      var t2h = joined(ah, al, 28) ^ joined(al, ah, 2) ^ joined(al, ah, 7);
      var t2l = joined(al, ah, 28) ^ joined(ah, al, 2) ^ joined(ah, al, 7);
      low = (t2l >>> 0) + (((al & bl) ^ (al & cl) ^ (bl & cl)) >>> 0);
      high = t2h + ((ah & bh) ^ (ah & ch) ^ (bh & ch)) + Math.floor(low / TWO_32);
      t2h = high | 0;
      t2l = low | 0;
      var el2 = (v[7] >>> 0) + (t1l >>> 0);
      var eh2 = (v[6] + t1h + Math.floor(el2 / TWO_32)) | 0;
      low = (t1l >>> 0) + (t2l >>> 0);
      high = (t1h + t2h + Math.floor(low / TWO_32)) | 0;
      v = [high, low | 0, ah, al, bh, bl, ch, cl, eh2, el2 | 0, xh, xl, fh, fl, gh, gl];
    }
    for (at = 0; at < 16; at += 2) {
      low = (state[at + 1] >>> 0) + (v[at + 1] >>> 0);
      state[at] = (state[at] + v[at] + Math.floor(low / TWO_32)) | 0;
      state[at + 1] = low | 0;
    }
  }

  // The upper half of a word of 64 bits that is turned right by less than 32; with its halves
  // exchanged, the lower half.
  function joined(high, low, by) {
    return (high >>> by) | (low << (32 - by));
  }

  function words32(bytes, from, count) {
    var words = [];
    for (var at = 0; at < count; at += 1) {
      var b = from + at * 4;
      words.push((bytes[b] << 24) | (bytes[b + 1] << 16) | (bytes[b + 2] << 8) | bytes[b + 3]);
    }
    return words;
  }

  function bytes32(state) {
    var bytes = [];
    state.forEach(function (word) {
      bytes.push(word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255);
    });
    return bytes;
  }

  function right(word, by) {
    return (word >>> by) | (word << (32 - by));
  }

  function left(word, by) {
    return by === 0 ? word : (word << by) | (word >>> (32 - by));
  }

  function sha256(message) {
    var rounds = upper(halves(ROUNDS), 64);
    var state = upper(halves(START), 8);
    var padded = pad(message, 64, 8);
    for (var from = 0; from < padded.length; from += 64) {
      var words = words32(padded, from, 16);
      var at;
      for (at = 16; at < 64; at += 1) {
        var early = words[at - 15], late = words[at - 2];
        var s0 = right(early, 7) ^ right(early, 18) ^ (early >>> 3);
        var s1 = right(late, 17) ^ right(late, 19) ^ (late >>> 10);
        words.push((words[at - 16] + s0 + words[at - 7] + s1) | 0);
      }
      var v = state.slice();
      for (at = 0; at < 64; at += 1) {
        var a = v[0], e = v[4];
        var sum1 = right(e, 6) ^ right(e, 11) ^ right(e, 25);
        var first = (v[7] + sum1 + ((e & v[5]) ^ (~e & v[6])) + rounds[at] + words[at]) | 0;
        var sum0 = right(a, 2) ^ right(a, 13) ^ right(a, 22);
        var second = (sum0 + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]))) | 0;
        v = [(first + second) | 0, a, v[1], v[2], (v[3] + first) | 0, e, v[5], v[6]];
      }
      for (at = 0; at < 8; at += 1) state[at] = (state[at] + v[at]) | 0;
    }
    return bytes32(state);
  }

  // GB/T 32905-2016.
  function sm3(message) {
    var state = [0x7380166f, 0x4914b2b9, 0x172442d7, 0xda8a0600, 0xa96f30bc, 0x163138aa, 0xe38dee4d, 0xb0fb0e4e];
    var padded = pad(message, 64, 8);
    for (var from = 0; from < padded.length; from += 64) {
      var words = words32(padded, from, 16);
      var at;
      for (at = 16; at < 68; at += 1) {
        var mixed = words[at - 16] ^ words[at - 9] ^ left(words[at - 3], 15);
        var spread = mixed ^ left(mixed, 15) ^ left(mixed, 23);
        words.push(spread ^ left(words[at - 13], 7) ^ words[at - 6]);
      }
      var v = state.slice();
      for (at = 0; at < 64; at += 1) {
        var a = v[0], b = v[1], c = v[2], e = v[4], f = v[5], g = v[6];
        var constant = at < 16 ? 0x79cc4519 : 0x7a879d8a;
        var s1 = left((left(a, 12) + e + left(constant, at % 32)) | 0, 7);
        var s2 = s1 ^ left(a, 12);
        var first = at < 16 ? a ^ b ^ c : (a & b) | (a & c) | (b & c);
        var second = at < 16 ? e ^ f ^ g : (e & f) | (~e & g);
        var t1 = (first + v[3] + s2 + (words[at] ^ words[at + 4])) | 0;
        var t2 = (second + v[7] + s1 + words[at]) | 0;
        v = [t1, a, left(b, 9), c, t2 ^ left(t2, 9) ^ left(t2, 17), e, left(f, 19), g];
      }
      for (at = 0; at < 8; at += 1) state[at] ^= v[at];
    }
    return bytes32(state);
  }

  // --- numbers of 256 bits ---------------------------------------------------------------------------

  // Eleven limbs of 24 bits, the lowest first. A place of a product sums 22 products of 48 bits and a
  // carry: less than 2^53, so every sum is exact.
  var LIMBS = 11;
  var LIMB = 16777216;

  // The first eleven limbs of big-endian bytes from the `skip`th limb on.
  function limbs(bytes, skip) {
    var result = [];
    for (var at = 0; at < LIMBS; at += 1) {
      var from = bytes.length - 3 * (at + (skip || 0));
      result.push((bytes[from - 1] || 0) | ((bytes[from - 2] || 0) << 8) | ((bytes[from - 3] || 0) << 16));
    }
    return result;
  }

  function bigEndian(number) {
    var bytes = [];
    for (var at = 0; at < 32; at += 1) {
      bytes.unshift((number[Math.floor(at / 3)] >> (8 * (at % 3))) & 255);
    }
    return bytes;
  }

  function compare(one, other) {
    for (var at = LIMBS - 1; at >= 0; at -= 1) {
      if (one[at] !== other[at]) return one[at] < other[at] ? -1 : 1;
    }
    return 0;
  }

  function isZero(number) {
    return number.every(function (limb) { return limb === 0; });
  }

  function plainSum(one, other) {
    var result = [], carry = 0;
    for (var at = 0; at < LIMBS; at += 1) {
      var sum = one[at] + other[at] + carry;
      carry = sum >= LIMB ? 1 : 0;
      result.push(sum - carry * LIMB);
    }
    return result;
  }

  function plainDifference(one, other) {
    var result = [], borrow = 0;
    for (var at = 0; at < LIMBS; at += 1) {
      var difference = one[at] - other[at] - borrow;
      borrow = difference < 0 ? 1 : 0;
      result.push(difference + borrow * LIMB);
    }
    return result;
  }

  // The numbers below an odd modulus. Inside, a number stands for itself times 2^264.
  function Field(digits) {
    this.modulus = limbs(unhex(digits));
    var inverse = 1;
    for (var step = 0; step < 5; step += 1) {
      var product = inverse * this.modulus[0] % LIMB;
      inverse = inverse * (LIMB + 2 - product) % LIMB;
    }
    this.negativeInverse = LIMB - inverse;
    this.zero = limbs([]);
    var power = limbs([1]);
    for (var one = 0; one < 24 * LIMBS; one += 1) power = this.add(power, power);
    this.one = power;
    for (var square = 0; square < 24 * LIMBS; square += 1) power = this.add(power, power);
    this.square = power;
  }

  Field.prototype.add = function (one, other) {
    var sum = plainSum(one, other);
    return compare(sum, this.modulus) >= 0 ? plainDifference(sum, this.modulus) : sum;
  };

  Field.prototype.subtract = function (one, other) {
    return compare(one, other) >= 0
      ? plainDifference(one, other)
      : plainDifference(plainSum(one, this.modulus), other);
  };

  // Montgomery's product (Mathematics of Computation 44, 1985). The first may be any eleven limbs.
  Field.prototype.multiply = function (one, other) {
    var modulus = this.modulus, negativeInverse = this.negativeInverse;
    var sums = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    var low = other[0];
    var at, place;
    for (at = 0; at < LIMBS; at += 1) {
      var factor = one[at];
      var last = sums[at] + factor * low;
      last = (last - Math.floor(last / LIMB) * LIMB) * negativeInverse;
      last -= Math.floor(last / LIMB) * LIMB;
      for (place = 0; place < LIMBS; place += 1) {
        sums[at + place] += factor * other[place] + last * modulus[place];
      }
      sums[at + 1] += sums[at] / LIMB;
    }
    var result = [], carry = 0;
    for (at = LIMBS; at < 2 * LIMBS; at += 1) {
      var sum = sums[at] + carry;
      carry = Math.floor(sum / LIMB);
      result.push(sum - carry * LIMB);
    }
    return compare(result, modulus) >= 0 ? plainDifference(result, modulus) : result;
  };

  // Into the field, whatever the number is; of at most 66 bytes.
  Field.prototype.of = function (bytes) {
    var high = this.multiply(limbs(bytes, LIMBS), this.square);
    return this.add(this.multiply(limbs(bytes), this.square), this.multiply(high, this.square));
  };

  // Out of the field.
  Field.prototype.plain = function (number) {
    return this.multiply(number, limbs([1]));
  };

  Field.prototype.power = function (base, exponent) {
    var result = this.one;
    for (var at = 0; at < exponent.length * 8; at += 1) {
      result = this.multiply(result, result);
      if (bit(exponent, exponent.length * 8 - 1 - at)) result = this.multiply(result, base);
    }
    return result;
  };

  // Of a prime modulus (Fermat); of zero it is zero.
  Field.prototype.inverse = function (number) {
    return this.power(number, bigEndian(plainDifference(this.modulus, limbs([2]))));
  };

  function bit(bytes, at) {
    return (bytes[bytes.length - 1 - (at >> 3)] >> (at & 7)) & 1;
  }

  // first × one + second × other, both scalars of 32 bytes; null where the sum has no coordinates.
  function sumOfMultiples(curve, first, one, second, other) {
    var both = curve.add(one, other);
    var result = curve.zero;
    for (var at = 255; at >= 0; at -= 1) {
      result = curve.twice(result);
      var isFirst = bit(first, at), isSecond = bit(second, at);
      if (isFirst || isSecond) result = curve.add(result, isFirst ? (isSecond ? both : one) : other);
    }
    return result;
  }

  // --- curves ----------------------------------------------------------------------------------------

  var made = {};
  function once(name, make) {
    if (made[name] === undefined) made[name] = make();
    return made[name];
  }

  // RFC 8032 §5.1: Edwards curve, extended coordinates [X, Y, Z, T].
  function edwards() {
    var f = new Field("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed");
    var number = function (digits) { return f.of(unhex(digits)); };
    var d = number("52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3");
    var rootOfMinusOne = number("2b8324804fc1df0b2b4d00993dfbd7a72f431806ad2fe478c4ee1b274a0ea0b0");
    var d2 = f.add(d, d);

    function point(x, y) {
      return [x, y, f.one, f.multiply(x, y)];
    }

    function add(one, other) {
      var a = f.multiply(f.subtract(one[1], one[0]), f.subtract(other[1], other[0]));
      var b = f.multiply(f.add(one[1], one[0]), f.add(other[1], other[0]));
      var c = f.multiply(f.multiply(one[3], other[3]), d2);
      var z = f.multiply(one[2], other[2]);
      var e = f.add(z, z);
      return product(f.subtract(b, a), f.subtract(e, c), f.add(e, c), f.add(b, a));
    }

    function twice(one) {
      var a = f.multiply(one[0], one[0]);
      var b = f.multiply(one[1], one[1]);
      var z = f.multiply(one[2], one[2]);
      var h = f.add(a, b);
      var sum = f.add(one[0], one[1]);
      var e = f.subtract(h, f.multiply(sum, sum));
      var g = f.subtract(a, b);
      return product(e, f.add(f.add(z, z), g), g, h);
    }

    function product(e, g, h, i) {
      return [f.multiply(e, g), f.multiply(h, i), f.multiply(g, h), f.multiply(e, i)];
    }

    function decode(bytes) {
      var big = bytes.slice().reverse();
      var isOdd = big[0] >> 7;
      big[0] &= 127;
      if (compare(limbs(big), f.modulus) >= 0) return null;
      var y = f.of(big);
      var square = f.multiply(y, y);
      var u = f.subtract(square, f.one);
      var v = f.add(f.multiply(d, square), f.one);
      // RFC 8032 §5.1.3.
      var v3 = f.multiply(f.multiply(v, v), v);
      var v7 = f.multiply(f.multiply(v3, v3), v);
      var root = f.power(f.multiply(u, v7), unhex("0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffd"));
      var x = f.multiply(f.multiply(u, v3), root);
      var check = f.multiply(v, f.multiply(x, x));
      if (compare(check, u) !== 0) {
        if (!isZero(f.add(check, u))) return null;
        x = f.multiply(x, rootOfMinusOne);
      }
      if (isZero(x) && isOdd) return null;
      if ((f.plain(x)[0] & 1) !== isOdd) x = f.subtract(f.zero, x);
      return point(x, y);
    }

    function encode(one) {
      var over = f.inverse(one[2]);
      var bytes = bigEndian(f.plain(f.multiply(one[1], over))).reverse();
      bytes[31] |= (f.plain(f.multiply(one[0], over))[0] & 1) << 7;
      return bytes;
    }

    return {
      zero: point(f.zero, f.one),
      base: point(
        number("216936d3cd6e53fec0a4e231fdd6dc5c692cc7609525a7b2c9562d608f25d51a"),
        number("6666666666666666666666666666666666666666666666666666666666666658")
      ),
      order: new Field("1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed"),
      add: add, twice: twice, decode: decode, encode: encode,
      minus: function (one) { return [f.subtract(f.zero, one[0]), one[1], one[2], f.subtract(f.zero, one[3])]; }
    };
  }

  function isEd25519(key, message, signature) {
    var curve = once("edwards", edwards);
    var r = signature.slice(0, 32);
    var s = signature.slice(32).reverse();
    var point = curve.decode(key);
    if (point === null || compare(limbs(s), curve.order.modulus) >= 0) return false;
    var digest = sha512(r.concat(key, message)).reverse();
    var challenge = bigEndian(curve.order.plain(curve.order.of(digest)));
    return isSame(curve.encode(sumOfMultiples(curve, s, curve.base, challenge, curve.minus(point))), r);
  }

  // A curve y² = x³ − 3x + b (both that are used have a = −3), Jacobian coordinates [X, Y, Z]; null is
  // the point at infinity.
  function weierstrass(p, b, gx, gy, order) {
    var f = new Field(p);
    var number = function (digits) { return f.of(unhex(digits)); };

    function twice(point) {
      if (point === null || isZero(point[1])) return null;
      var square = f.multiply(point[2], point[2]);
      var third = f.multiply(f.subtract(point[0], square), f.add(point[0], square));
      var slope = f.add(f.add(third, third), third);
      var yy = f.multiply(point[1], point[1]);
      var s = f.multiply(point[0], yy);
      s = f.add(s, s);
      s = f.add(s, s);
      var x = f.subtract(f.multiply(slope, slope), f.add(s, s));
      var y4 = f.multiply(yy, yy);
      y4 = f.add(y4, y4);
      y4 = f.add(y4, y4);
      y4 = f.add(y4, y4);
      var z = f.multiply(point[1], point[2]);
      return [x, f.subtract(f.multiply(slope, f.subtract(s, x)), y4), f.add(z, z)];
    }

    function add(one, other) {
      if (one === null) return other;
      if (other === null) return one;
      var z1 = f.multiply(one[2], one[2]), z2 = f.multiply(other[2], other[2]);
      var u1 = f.multiply(one[0], z2), u2 = f.multiply(other[0], z1);
      var s1 = f.multiply(f.multiply(one[1], z2), other[2]), s2 = f.multiply(f.multiply(other[1], z1), one[2]);
      if (compare(u1, u2) === 0) return compare(s1, s2) === 0 ? twice(one) : null;
      var h = f.subtract(u2, u1), r = f.subtract(s2, s1);
      var hh = f.multiply(h, h), hhh = f.multiply(h, hh), v = f.multiply(u1, hh);
      var x = f.subtract(f.subtract(f.multiply(r, r), hhh), f.add(v, v));
      var y = f.subtract(f.multiply(r, f.subtract(v, x)), f.multiply(s1, hhh));
      return [x, y, f.multiply(f.multiply(h, one[2]), other[2])];
    }

    function decode(bytes) {
      if (bytes.length !== 65 || bytes[0] !== 4) return null;
      var xs = bytes.slice(1, 33), ys = bytes.slice(33);
      if (compare(limbs(xs), f.modulus) >= 0 || compare(limbs(ys), f.modulus) >= 0) return null;
      var x = f.of(xs), y = f.of(ys);
      var cube = f.multiply(f.multiply(x, x), x);
      var right = f.add(f.subtract(cube, f.add(f.add(x, x), x)), number(b));
      return compare(f.multiply(y, y), right) === 0 ? [x, y, f.one] : null;
    }

    // Whether the point's x, reduced by the order, is this plain number below the order.
    function hasX(point, wanted) {
      if (point === null) return false;
      var square = f.multiply(point[2], point[2]);
      var isX = function (x) { return compare(f.multiply(f.of(bigEndian(x)), square), point[0]) === 0; };
      var other = plainSum(wanted, curve.order.modulus);
      return isX(wanted) || (compare(other, f.modulus) < 0 && isX(other));
    }

    var curve = {
      zero: null, base: [number(gx), number(gy), f.one], order: new Field(order),
      add: add, twice: twice, decode: decode, hasX: hasX,
      // −3, b and the base point as bytes.
      bytes: bigEndian(plainDifference(f.modulus, limbs([3]))).concat(unhex(b), unhex(gx), unhex(gy))
    };
    return curve;
  }

  // SP 800-186 §3.2.1.3.
  function p256() {
    return weierstrass(
      "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
      "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
      "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
      "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
      "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"
    );
  }

  // GB/T 32918.5-2017.
  function sm2Curve() {
    return weierstrass(
      "fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff",
      "28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93",
      "32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7",
      "bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0",
      "fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123"
    );
  }

  function isInRange(number, order) {
    return !isZero(number) && compare(number, order.modulus) < 0;
  }

  function isEcdsaP256(key, message, signature) {
    var curve = once("p256", p256), order = curve.order;
    var point = curve.decode(key);
    var r = limbs(signature.slice(0, 32)), s = limbs(signature.slice(32));
    if (point === null || !isInRange(r, order) || !isInRange(s, order)) return false;
    // Of the two values of S that fit, the smaller one is the only one.
    if (compare(plainDifference(order.modulus, s), s) < 0) return false;
    var over = order.inverse(order.of(signature.slice(32)));
    var first = order.multiply(order.of(sha256(message)), over);
    var second = order.multiply(order.of(signature.slice(0, 32)), over);
    var scalar = function (number) { return bigEndian(order.plain(number)); };
    return curve.hasX(sumOfMultiples(curve, scalar(first), curve.base, scalar(second), point), r);
  }

  // GB/T 32918.2-2016 §7.
  function isSm2(key, message, signature) {
    var curve = once("sm2", sm2Curve), order = curve.order;
    var point = curve.decode(key);
    var rs = signature.slice(0, 32), ss = signature.slice(32);
    if (point === null || !isInRange(limbs(rs), order) || !isInRange(limbs(ss), order)) return false;
    var r = order.of(rs);
    var t = order.add(r, order.of(ss));
    if (isZero(t)) return false;
    var signer = bytesOf(SM2_SIGNER);
    var z = sm3([0, signer.length * 8].concat(signer, curve.bytes, key.slice(1)));
    var x = order.plain(order.subtract(r, order.of(sm3(z.concat(message)))));
    return curve.hasX(sumOfMultiples(curve, ss, curve.base, bigEndian(order.plain(t)), point), x);
  }

  var ALGORITHMS = {
    "ed25519": { number: -8, digest: sha256, verify: isEd25519, isKey: function (bytes) { return bytes.length === 32; } },
    "ecdsa-p256-sha256": { number: -7, digest: sha256, verify: isEcdsaP256, isKey: function (bytes) { return bytes.length === 65 && bytes[0] === 4; } },
    "sm2-sm3": { number: -65537, digest: sm3, verify: isSm2, isKey: function (bytes) { return once("sm2", sm2Curve).decode(bytes) !== null; } }
  };

  // A key of the form `algorithm:base64url`; null when it is none.
  function readKey(text) {
    var at = text.indexOf(":");
    var word = text.slice(0, at);
    var bytes = fromBase64url(text.slice(at + 1));
    if (!Object.prototype.hasOwnProperty.call(ALGORITHMS, word) || bytes === null) return null;
    var algorithm = ALGORITHMS[word];
    if (!algorithm.isKey(bytes)) return null;
    var id = hex(algorithm.digest(bytesOf(word).concat(bytes)).slice(0, 8));
    return { algorithm: algorithm, bytes: bytes, id: id };
  }

  // --- the certificate ---------------------------------------------------------------------------------

  function readMessage(bytes) {
    var reader = new Reader(bytes);
    if (reader.length(4, 4) !== 4) refuse("malformed");
    var headers = reader.string();
    reader.map(0, function () {});
    var message = { headers: headers, payload: reader.string(), signature: reader.exactly(64) };
    reader.end();
    var inner = new Reader(headers);
    inner.map(2, function (label, header) {
      if (label === 1) message.algorithm = header.int();
      else if (label === 4) message.keyId = hex(header.exactly(8));
      else refuse("malformed");
    });
    inner.end();
    if (message.algorithm === undefined || message.keyId === undefined) refuse("malformed");
    var isKnown = Object.keys(ALGORITHMS).some(function (word) { return ALGORITHMS[word].number === message.algorithm; });
    if (!isKnown) refuse("malformed");
    return message;
  }

  function isPlain(text, most) {
    return utf8Length(text) <= most && !/[\u0000-\u001f\u007f-\u009f]/.test(text);
  }

  function isWord(text, most) {
    return text.length >= 1 && text.length <= most && /^[!-~]+$/.test(text);
  }

  function readReadiness(payload) {
    var text = function (reader) { return reader.text(); };
    var time = function (reader) {
      var value = reader.expect(0);
      if (value.high >= TWO_32 / 2) refuse("malformed");
      return value;
    };
    var count = function (reader) { return reader.length(0, 65535); };
    var digest = function (reader) { return hex(reader.exactly(32)); };
    var fields = {
      1: ["terminal", text], 2: ["site", text], 3: ["issuedAt", time], 4: ["validUntil", time],
      5: ["program", text], 6: ["programDigest", digest], 7: ["configurationDigest", digest],
      8: ["itemsDigest", digest], 9: ["reportDigest", digest],
      10: ["passed", count], 11: ["failed", count], 12: ["notRun", count],
      13: ["openFaults", function (reader) {
        var faults = [];
        var length = reader.length(4, 16);
        for (var at = 0; at < length; at += 1) faults.push(reader.text());
        return faults;
      }],
      14: ["auditSequence", function (reader) { return decimal(reader.expect(0)); }],
      15: ["auditHead", digest],
      16: ["isReady", function (reader) { return reader.bool(); }]
    };
    var readiness = {};
    var reader = new Reader(payload);
    reader.map(16, function (field, inner) {
      if (!Object.prototype.hasOwnProperty.call(fields, field)) refuse("malformed");
      readiness[fields[field][0]] = fields[field][1](inner);
    });
    reader.end();
    var isWhole = Object.keys(fields).every(function (field) { return readiness[fields[field][0]] !== undefined; });
    if (!isWhole) refuse("malformed");
    var isInBounds = isWord(readiness.terminal, 32) && isPlain(readiness.site, 96) && isWord(readiness.program, 32) &&
      isLess(readiness.issuedAt, readiness.validUntil) && minus(readiness.validUntil, readiness.issuedAt) <= LIFE_S_MAX &&
      readiness.openFaults.every(function (fault) { return isWord(fault, 48); });
    if (!isInBounds) refuse("malformed");
    return readiness;
  }

  function seconds(time) {
    return time.high * TWO_32 + time.low;
  }

  function verify(text, keys, nowS) {
    if (utf8Length(text) > TEXT_BYTES_MAX) refuse("too-long");
    var trimmed = text.replace(/^[\t\n\f\r ]+/, "").replace(/[\t\n\f\r ]+$/, "");
    if (trimmed.slice(0, PREFIX.length) !== PREFIX) refuse("malformed");
    var message = readMessage(fromBase45(trimmed.slice(PREFIX.length)));
    var readiness = readReadiness(message.payload);
    var unknown = { terminal: readiness.terminal, keyId: message.keyId };
    var key = keys
      .filter(function (entry) { return entry.terminal === readiness.terminal; })
      .map(function (entry) { return readKey(entry.key); })
      .filter(function (found) { return found !== null && found.id === message.keyId; })[0];
    if (key === undefined) refuse("unknown-terminal", unknown);
    if (key.algorithm.number !== message.algorithm) refuse("forged");
    var covered = [0x84, 0x6a].concat(
      bytesOf("Signature1"), head(2, message.headers.length), message.headers,
      head(2, DOMAIN.length), bytesOf(DOMAIN), head(2, message.payload.length), message.payload
    );
    if (!key.algorithm.verify(key.bytes, covered, message.signature)) refuse("forged");
    // A clock before 1970 is behind every certificate.
    if (nowS + SKEW_S_MAX < 0 || isLess(wide(nowS + SKEW_S_MAX), readiness.issuedAt)) refuse("not-yet-valid");
    if (nowS >= 0 && isLess(readiness.validUntil, wide(nowS))) refuse("expired");
    readiness.issuedAt = seconds(readiness.issuedAt);
    readiness.validUntil = seconds(readiness.validUntil);
    return readiness;
  }

  return {
    // Gives { code: "valid", readiness } or { code: "certificate.…", detail }.
    // `keys` are { terminal, key } with the key as `algorithm:base64url`; `nowS` is an integer.
    verify: function (text, keys, nowS) {
      try {
        return { code: "valid", readiness: verify(text, keys, nowS) };
      } catch (refusal) {
        if (refusal instanceof Error || refusal.code === undefined) throw refusal;
        return refusal;
      }
    },
    digests: { sha256: sha256, sha512: sha512, sm3: sm3 },
    hex: hex
  };
})();
