"use strict";
// Whether a terminal's certificate is to be believed: the same rules, in the same order, as
// `kiosk_sealing::certificate::verify`. A function of a text, keys and a time: no network, no page,
// no clock. BigInt is called as a function and never written as a literal, so that a browser
// without it can still load this file and say so.

const Certificate = (function () {
  const TEXT_BYTES_MAX = 2048;
  const LIFE_S_MAX = 86400;
  const SKEW_S_MAX = 600;
  const PREFIX = "KR1:";
  const DOMAIN = "kiosk.readiness.v1";
  const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
  const SM2_SIGNER = "1234567812345678";

  function refuse(code, detail) {
    throw { code: "certificate." + code, detail: detail || {} };
  }

  // --- bytes -------------------------------------------------------------------------------------

  function bytesOf(text) {
    // ASCII only: the words of this profile.
    const bytes = [];
    for (let index = 0; index < text.length; index += 1) bytes.push(text.charCodeAt(index));
    return bytes;
  }

  function utf8Length(text) {
    let length = 0;
    for (const letter of text) {
      const point = letter.codePointAt(0);
      length += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    }
    return length;
  }

  // Strict UTF-8 (RFC 3629): no overlong forms, no surrogates.
  function utf8(bytes) {
    let text = "";
    let at = 0;
    while (at < bytes.length) {
      const first = bytes[at];
      let more, point, least;
      if (first < 0x80) { more = 0; point = first; least = 0; }
      else if (first >= 0xc2 && first < 0xe0) { more = 1; point = first & 31; least = 0x80; }
      else if (first >= 0xe0 && first < 0xf0) { more = 2; point = first & 15; least = 0x800; }
      else if (first >= 0xf0 && first < 0xf5) { more = 3; point = first & 7; least = 0x10000; }
      else refuse("malformed");
      for (let step = 1; step <= more; step += 1) {
        const next = bytes[at + step];
        if (next === undefined || (next & 0xc0) !== 0x80) refuse("malformed");
        point = point * 64 + (next & 63);
      }
      if (point < least || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) refuse("malformed");
      text += String.fromCodePoint(point);
      at += more + 1;
    }
    return text;
  }

  function hex(bytes) {
    return Array.from(bytes, function (byte) { return (byte + 256).toString(16).slice(1); }).join("");
  }

  // A number of big-endian bytes.
  function number(bytes) {
    return bytes.length === 0 ? BigInt(0) : BigInt("0x" + hex(bytes));
  }

  function bigEndian(value, length) {
    const digits = value.toString(16).padStart(length * 2, "0");
    const bytes = [];
    for (let at = 0; at < digits.length; at += 2) bytes.push(parseInt(digits.slice(at, at + 2), 16));
    return bytes;
  }

  function isSame(left, right) {
    return left.length === right.length && left.every(function (byte, at) { return byte === right[at]; });
  }

  function fromBase45(text) {
    const bytes = [];
    for (let at = 0; at < text.length; at += 3) {
      const group = text.slice(at, at + 3);
      let value = 0;
      for (let place = group.length - 1; place >= 0; place -= 1) {
        const digit = LETTERS.indexOf(group[place]);
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
    const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const bytes = [];
    let held = 0, bits = 0;
    for (const letter of text) {
      const digit = letters.indexOf(letter);
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

  // --- CBOR in its one deterministic form (RFC 8949 §4.2) ------------------------------------------

  function Reader(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  Reader.prototype.take = function (length) {
    if (length > this.bytes.length - this.at) refuse("malformed");
    const taken = this.bytes.slice(this.at, this.at + length);
    this.at += length;
    return taken;
  };

  Reader.prototype.head = function () {
    const first = this.take(1)[0];
    const short = first & 31;
    if (short < 24) return { major: first >> 5, value: BigInt(short) };
    if (short > 27) refuse("malformed");
    const width = 1 << (short - 24);
    const value = number(this.take(width));
    const least = short === 24 ? BigInt(24) : BigInt(1) << BigInt(width * 4);
    if (value < least) refuse("malformed");
    return { major: first >> 5, value: value };
  };

  Reader.prototype.expect = function (major) {
    const head = this.head();
    if (head.major !== major) refuse("malformed");
    return head.value;
  };

  Reader.prototype.uint = function (most) {
    const value = this.expect(0);
    if (value > most) refuse("malformed");
    return value;
  };

  Reader.prototype.int = function () {
    const head = this.head();
    if (head.major > 1 || head.value >> BigInt(63)) refuse("malformed");
    return head.major === 0 ? head.value : -head.value - BigInt(1);
  };

  Reader.prototype.length = function (major, most) {
    const value = this.expect(major);
    if (value > BigInt(most)) refuse("malformed");
    return Number(value);
  };

  Reader.prototype.string = function () {
    return this.take(this.length(2, this.bytes.length));
  };

  Reader.prototype.exactly = function (length) {
    const bytes = this.string();
    if (bytes.length !== length) refuse("malformed");
    return bytes;
  };

  Reader.prototype.text = function () {
    return utf8(this.take(this.length(3, this.bytes.length)));
  };

  Reader.prototype.bool = function () {
    const byte = this.take(1)[0];
    if (byte !== 0xf4 && byte !== 0xf5) refuse("malformed");
    return byte === 0xf5;
  };

  Reader.prototype.map = function (most, each) {
    const count = this.length(5, most);
    let previous = null;
    for (let entry = 0; entry < count; entry += 1) {
      const from = this.at;
      const key = this.int();
      const written = hex(this.bytes.slice(from, this.at));
      // Of two keys the shorter stands first: a prefix cannot be a whole key.
      if (previous !== null && !(previous < written)) refuse("malformed");
      previous = written;
      each(Number(key), this);
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

  function root(value, degree) {
    // The largest integer whose power is not above the value, by Newton's method from above.
    const k = BigInt(degree);
    let guess = BigInt(1) << BigInt(Math.ceil(value.toString(2).length / degree));
    for (;;) {
      const next = ((k - BigInt(1)) * guess + value / powerOf(guess, degree - 1)) / k;
      if (next >= guess) return guess;
      guess = next;
    }
  }

  function powerOf(base, exponent) {
    let result = BigInt(1);
    for (let step = 0; step < exponent; step += 1) result *= base;
    return result;
  }

  function pad(message, block, lengthBytes) {
    const padded = message.slice();
    padded.push(0x80);
    while (padded.length % block !== block - lengthBytes) padded.push(0);
    return padded.concat(bigEndian(BigInt(message.length) * BigInt(8), lengthBytes));
  }

  // The constants of FIPS 180-4 §4.2 and §5.3 are bits of roots of the first primes.
  function constants() {
    const mask = (BigInt(1) << BigInt(64)) - BigInt(1);
    const primes = [];
    for (let candidate = 2; primes.length < 80; candidate += 1) {
      if (primes.every(function (prime) { return candidate % prime !== 0; })) primes.push(candidate);
    }
    return {
      mask: mask,
      rounds: primes.map(function (prime) { return root(BigInt(prime) << BigInt(192), 3) & mask; }),
      start: primes.slice(0, 8).map(function (prime) { return root(BigInt(prime) << BigInt(128), 2) & mask; }),
    };
  }

  let kept = null;
  function fips() {
    kept = kept || constants();
    return kept;
  }

  function sha512(message) {
    const mask = fips().mask;
    const rounds = fips().rounds;
    const rotate = function (word, by) {
      return ((word >> BigInt(by)) | (word << BigInt(64 - by))) & mask;
    };
    const state = fips().start.slice();
    const padded = pad(message, 128, 16);
    for (let from = 0; from < padded.length; from += 128) {
      const words = [];
      for (let at = 0; at < 16; at += 1) words.push(number(padded.slice(from + at * 8, from + at * 8 + 8)));
      for (let at = 16; at < 80; at += 1) {
        const early = words[at - 15], late = words[at - 2];
        const s0 = rotate(early, 1) ^ rotate(early, 8) ^ (early >> BigInt(7));
        const s1 = rotate(late, 19) ^ rotate(late, 61) ^ (late >> BigInt(6));
        words.push((words[at - 16] + s0 + words[at - 7] + s1) & mask);
      }
      let [a, b, c, d, e, f, g, h] = state;
      for (let at = 0; at < 80; at += 1) {
        const s1 = rotate(e, 14) ^ rotate(e, 18) ^ rotate(e, 41);
        const choice = (e & f) ^ ((e ^ mask) & g);
        const first = h + s1 + choice + rounds[at] + words[at];
        const s0 = rotate(a, 28) ^ rotate(a, 34) ^ rotate(a, 39);
        const second = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g; g = f; f = e; e = (d + first) & mask;
        d = c; c = b; b = a; a = (first + second) & mask;
      }
      [a, b, c, d, e, f, g, h].forEach(function (word, at) { state[at] = (state[at] + word) & mask; });
    }
    return [].concat.apply([], state.map(function (word) { return bigEndian(word, 8); }));
  }

  function words32(bytes, from) {
    const words = [];
    for (let at = 0; at < 16; at += 1) {
      const b = from + at * 4;
      words.push((bytes[b] << 24) | (bytes[b + 1] << 16) | (bytes[b + 2] << 8) | bytes[b + 3]);
    }
    return words;
  }

  function bytes32(state) {
    return [].concat.apply([], state.map(function (word) {
      return [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255];
    }));
  }

  function right(word, by) {
    return (word >>> by) | (word << (32 - by));
  }

  function left(word, by) {
    return by === 0 ? word : (word << by) | (word >>> (32 - by));
  }

  function sha256(message) {
    const upper = function (word) { return Number(word >> BigInt(32)) | 0; };
    const rounds = fips().rounds.slice(0, 64).map(upper);
    const state = fips().start.map(upper);
    const padded = pad(message, 64, 8);
    for (let from = 0; from < padded.length; from += 64) {
      const words = words32(padded, from);
      for (let at = 16; at < 64; at += 1) {
        const early = words[at - 15], late = words[at - 2];
        const s0 = right(early, 7) ^ right(early, 18) ^ (early >>> 3);
        const s1 = right(late, 17) ^ right(late, 19) ^ (late >>> 10);
        words.push((words[at - 16] + s0 + words[at - 7] + s1) | 0);
      }
      let [a, b, c, d, e, f, g, h] = state;
      for (let at = 0; at < 64; at += 1) {
        const s1 = right(e, 6) ^ right(e, 11) ^ right(e, 25);
        const first = (h + s1 + ((e & f) ^ (~e & g)) + rounds[at] + words[at]) | 0;
        const s0 = right(a, 2) ^ right(a, 13) ^ right(a, 22);
        const second = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
        h = g; g = f; f = e; e = (d + first) | 0;
        d = c; c = b; b = a; a = (first + second) | 0;
      }
      [a, b, c, d, e, f, g, h].forEach(function (word, at) { state[at] = (state[at] + word) | 0; });
    }
    return bytes32(state);
  }

  // GB/T 32905-2016.
  function sm3(message) {
    const state = [0x7380166f, 0x4914b2b9, 0x172442d7, 0xda8a0600, 0xa96f30bc, 0x163138aa, 0xe38dee4d, 0xb0fb0e4e];
    const padded = pad(message, 64, 8);
    for (let from = 0; from < padded.length; from += 64) {
      const words = words32(padded, from);
      for (let at = 16; at < 68; at += 1) {
        const mixed = words[at - 16] ^ words[at - 9] ^ left(words[at - 3], 15);
        const spread = mixed ^ left(mixed, 15) ^ left(mixed, 23);
        words.push(spread ^ left(words[at - 13], 7) ^ words[at - 6]);
      }
      let [a, b, c, d, e, f, g, h] = state;
      for (let at = 0; at < 64; at += 1) {
        const constant = at < 16 ? 0x79cc4519 : 0x7a879d8a;
        const s1 = left((left(a, 12) + e + left(constant, at % 32)) | 0, 7);
        const s2 = s1 ^ left(a, 12);
        const first = at < 16 ? a ^ b ^ c : (a & b) | (a & c) | (b & c);
        const second = at < 16 ? e ^ f ^ g : (e & f) | (~e & g);
        const t1 = (first + d + s2 + (words[at] ^ words[at + 4])) | 0;
        const t2 = (second + h + s1 + words[at]) | 0;
        d = c; c = left(b, 9); b = a; a = t1;
        h = g; g = left(f, 19); f = e; e = t2 ^ left(t2, 9) ^ left(t2, 17);
      }
      [a, b, c, d, e, f, g, h].forEach(function (word, at) { state[at] ^= word; });
    }
    return bytes32(state);
  }

  // --- numbers and curves ----------------------------------------------------------------------------

  function mod(value, modulus) {
    const rest = value % modulus;
    return rest < BigInt(0) ? rest + modulus : rest;
  }

  function inverse(value, modulus) {
    let [low, high] = [mod(value, modulus), modulus];
    let [x, y] = [BigInt(1), BigInt(0)];
    while (low > BigInt(1)) {
      const quotient = high / low;
      [low, high] = [high - quotient * low, low];
      [x, y] = [y - quotient * x, x];
      if (low === BigInt(0)) return BigInt(0);
    }
    return mod(x, modulus);
  }

  function power(base, exponent, modulus) {
    let result = BigInt(1);
    let factor = mod(base, modulus);
    for (let rest = exponent; rest > BigInt(0); rest >>= BigInt(1)) {
      if (rest & BigInt(1)) result = (result * factor) % modulus;
      factor = (factor * factor) % modulus;
    }
    return result;
  }

  // RFC 8032 §5.1: Edwards curve, extended coordinates [X, Y, Z, T].
  function edwards() {
    const p = (BigInt(1) << BigInt(255)) - BigInt(19);
    const d = mod(BigInt(-121665) * inverse(BigInt(121666), p), p);
    const order = (BigInt(1) << BigInt(252)) + BigInt("27742317777372353535851937790883648493");
    const zero = [BigInt(0), BigInt(1), BigInt(1), BigInt(0)];

    function add(one, other) {
      const a = mod((one[1] - one[0]) * (other[1] - other[0]), p);
      const b = mod((one[1] + one[0]) * (other[1] + other[0]), p);
      const c = mod(BigInt(2) * one[3] * other[3] * d, p);
      const e = mod(BigInt(2) * one[2] * other[2], p);
      const f = b - a, g = e - c, h = e + c, i = b + a;
      return [mod(f * g, p), mod(h * i, p), mod(g * h, p), mod(f * i, p)];
    }

    function multiply(point, scalar) {
      let result = zero;
      let doubled = point;
      for (let rest = scalar; rest > BigInt(0); rest >>= BigInt(1)) {
        if (rest & BigInt(1)) result = add(result, doubled);
        doubled = add(doubled, doubled);
      }
      return result;
    }

    function decode(bytes) {
      const little = bytes.slice().reverse();
      const isOdd = little[0] >> 7;
      little[0] &= 127;
      const y = number(little);
      if (y >= p) return null;
      const square = (y * y) % p;
      const u = mod(square - BigInt(1), p);
      const v = mod(d * square + BigInt(1), p);
      // RFC 8032 §5.1.3.
      let x = mod(u * power(v, BigInt(3), p) * power(u * power(v, BigInt(7), p), (p - BigInt(5)) / BigInt(8), p), p);
      const check = mod(v * x * x, p);
      if (check !== u) {
        if (check !== mod(-u, p)) return null;
        x = mod(x * power(BigInt(2), (p - BigInt(1)) / BigInt(4), p), p);
      }
      if (x === BigInt(0) && isOdd) return null;
      if (Number(x & BigInt(1)) !== isOdd) x = p - x;
      return [x, y, BigInt(1), mod(x * y, p)];
    }

    function encode(point) {
      const over = inverse(point[2], p);
      const x = mod(point[0] * over, p);
      const bytes = bigEndian(mod(point[1] * over, p), 32).reverse();
      bytes[31] |= Number(x & BigInt(1)) << 7;
      return bytes;
    }

    const base = decode([88].concat(new Array(31).fill(102)));
    return { p: p, order: order, base: base, add: add, multiply: multiply, decode: decode, encode: encode };
  }

  function isEd25519(key, message, signature) {
    const curve = edwards();
    const r = signature.slice(0, 32);
    const s = number(signature.slice(32).reverse());
    const point = curve.decode(key);
    if (point === null || s >= curve.order) return false;
    const challenge = number(sha512(r.concat(key, message)).reverse());
    const minus = [mod(-point[0], curve.p), point[1], point[2], mod(-point[3], curve.p)];
    const sum = curve.add(curve.multiply(curve.base, s), curve.multiply(minus, challenge % curve.order));
    return isSame(curve.encode(sum), r);
  }

  // A curve y² = x³ − 3x + b (both that are used have a = −3), Jacobian coordinates [X, Y, Z].
  function weierstrass(p, b, gx, gy, order) {
    const zero = [BigInt(1), BigInt(1), BigInt(0)];

    function twice(point) {
      const [x, y, z] = point;
      if (z === BigInt(0) || y === BigInt(0)) return zero;
      const square = mod(z * z, p);
      const slope = mod(BigInt(3) * (x - square) * (x + square), p);
      const yy = mod(y * y, p);
      const s = mod(BigInt(4) * x * yy, p);
      const nx = mod(slope * slope - BigInt(2) * s, p);
      return [nx, mod(slope * (s - nx) - BigInt(8) * yy * yy, p), mod(BigInt(2) * y * z, p)];
    }

    function add(one, other) {
      if (one[2] === BigInt(0)) return other;
      if (other[2] === BigInt(0)) return one;
      const z1 = mod(one[2] * one[2], p), z2 = mod(other[2] * other[2], p);
      const u1 = mod(one[0] * z2, p), u2 = mod(other[0] * z1, p);
      const s1 = mod(one[1] * z2 * other[2], p), s2 = mod(other[1] * z1 * one[2], p);
      if (u1 === u2) return s1 === s2 ? twice(one) : zero;
      const h = mod(u2 - u1, p), r = mod(s2 - s1, p);
      const hh = mod(h * h, p), hhh = mod(h * hh, p), v = mod(u1 * hh, p);
      const x = mod(r * r - hhh - BigInt(2) * v, p);
      return [x, mod(r * (v - x) - s1 * hhh, p), mod(h * one[2] * other[2], p)];
    }

    function multiply(point, scalar) {
      let result = zero;
      let doubled = point;
      for (let rest = scalar; rest > BigInt(0); rest >>= BigInt(1)) {
        if (rest & BigInt(1)) result = add(result, doubled);
        doubled = twice(doubled);
      }
      return result;
    }

    // The x of a sum of multiples, or null at infinity.
    function sum(first, point, second) {
      const found = add(multiply([gx, gy, BigInt(1)], first), multiply(point, second));
      if (found[2] === BigInt(0)) return null;
      const over = inverse(found[2], p);
      return mod(found[0] * over * over, p);
    }

    function decode(bytes) {
      if (bytes.length !== 65 || bytes[0] !== 4) return null;
      const x = number(bytes.slice(1, 33)), y = number(bytes.slice(33));
      const isOn = x < p && y < p && mod(y * y - x * x * x + BigInt(3) * x - b, p) === BigInt(0);
      return isOn ? [x, y, BigInt(1)] : null;
    }

    return { p: p, b: b, gx: gx, gy: gy, order: order, sum: sum, decode: decode };
  }

  function big(digits) {
    return BigInt("0x" + digits);
  }

  // SP 800-186 §3.2.1.3.
  function p256() {
    return weierstrass(
      big("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
      big("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"),
      big("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
      big("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
      big("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
    );
  }

  // GB/T 32918.5-2017.
  function sm2Curve() {
    return weierstrass(
      big("fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff"),
      big("28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93"),
      big("32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7"),
      big("bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0"),
      big("fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123")
    );
  }

  function isInRange(value, order) {
    return value > BigInt(0) && value < order;
  }

  function isEcdsaP256(key, message, signature) {
    const curve = p256();
    const point = curve.decode(key);
    const r = number(signature.slice(0, 32)), s = number(signature.slice(32));
    if (point === null || !isInRange(r, curve.order) || !isInRange(s, curve.order)) return false;
    // Of the two values of S that fit, the smaller one is the only one.
    if (s > curve.order >> BigInt(1)) return false;
    const over = inverse(s, curve.order);
    const first = mod(number(sha256(message)) * over, curve.order);
    const x = curve.sum(first, point, mod(r * over, curve.order));
    return x !== null && mod(x, curve.order) === r;
  }

  // GB/T 32918.2-2016 §7.
  function isSm2(key, message, signature) {
    const curve = sm2Curve();
    const point = curve.decode(key);
    const r = number(signature.slice(0, 32)), s = number(signature.slice(32));
    if (point === null || !isInRange(r, curve.order) || !isInRange(s, curve.order)) return false;
    const t = mod(r + s, curve.order);
    if (t === BigInt(0)) return false;
    const signer = bytesOf(SM2_SIGNER);
    const of = function (value) { return bigEndian(value, 32); };
    const z = sm3([0, signer.length * 8].concat(
      signer, of(curve.p - BigInt(3)), of(curve.b), of(curve.gx), of(curve.gy), key.slice(1)
    ));
    const digest = number(sm3(z.concat(message)));
    const x = curve.sum(s, point, t);
    return x !== null && mod(digest + x, curve.order) === r;
  }

  const ALGORITHMS = {
    "ed25519": { number: -8, digest: sha256, verify: isEd25519, isKey: function (bytes) { return bytes.length === 32; } },
    "ecdsa-p256-sha256": { number: -7, digest: sha256, verify: isEcdsaP256, isKey: function (bytes) { return bytes.length === 65 && bytes[0] === 4; } },
    "sm2-sm3": { number: -65537, digest: sm3, verify: isSm2, isKey: function (bytes) { return sm2Curve().decode(bytes) !== null; } },
  };

  // A key of the form `algorithm:base64url`; null when it is none.
  function readKey(text) {
    const at = text.indexOf(":");
    const word = text.slice(0, at);
    const bytes = fromBase64url(text.slice(at + 1));
    if (!Object.prototype.hasOwnProperty.call(ALGORITHMS, word) || bytes === null) return null;
    const algorithm = ALGORITHMS[word];
    if (!algorithm.isKey(bytes)) return null;
    const id = hex(algorithm.digest(bytesOf(word).concat(bytes)).slice(0, 8));
    return { algorithm: algorithm, bytes: bytes, id: id };
  }

  // --- the certificate ---------------------------------------------------------------------------------

  function readMessage(bytes) {
    const reader = new Reader(bytes);
    if (reader.length(4, 4) !== 4) refuse("malformed");
    const headers = reader.string();
    reader.map(0, function () {});
    const message = { headers: headers, payload: reader.string(), signature: reader.exactly(64) };
    reader.end();
    const inner = new Reader(headers);
    inner.map(2, function (label, header) {
      if (label === 1) message.algorithm = Number(header.int());
      else if (label === 4) message.keyId = hex(header.exactly(8));
      else refuse("malformed");
    });
    inner.end();
    if (message.algorithm === undefined || message.keyId === undefined) refuse("malformed");
    const isKnown = Object.keys(ALGORITHMS).some(function (word) { return ALGORITHMS[word].number === message.algorithm; });
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
    const most64 = (BigInt(1) << BigInt(64)) - BigInt(1);
    const most63 = most64 >> BigInt(1);
    const text = function (reader) { return reader.text(); };
    const time = function (reader) { return reader.uint(most63); };
    const count = function (reader) { return Number(reader.uint(BigInt(65535))); };
    const digest = function (reader) { return hex(reader.exactly(32)); };
    const fields = {
      1: ["terminal", text], 2: ["site", text], 3: ["issuedAt", time], 4: ["validUntil", time],
      5: ["program", text], 6: ["programDigest", digest], 7: ["configurationDigest", digest],
      8: ["itemsDigest", digest], 9: ["reportDigest", digest],
      10: ["passed", count], 11: ["failed", count], 12: ["notRun", count],
      13: ["openFaults", function (reader) {
        const faults = [];
        const length = reader.length(4, 16);
        for (let at = 0; at < length; at += 1) faults.push(reader.text());
        return faults;
      }],
      14: ["auditSequence", function (reader) { return reader.uint(most64).toString(); }],
      15: ["auditHead", digest],
      16: ["isReady", function (reader) { return reader.bool(); }],
    };
    const readiness = {};
    const reader = new Reader(payload);
    reader.map(16, function (field, inner) {
      if (!Object.prototype.hasOwnProperty.call(fields, field)) refuse("malformed");
      readiness[fields[field][0]] = fields[field][1](inner);
    });
    reader.end();
    const isWhole = Object.keys(fields).every(function (field) { return readiness[fields[field][0]] !== undefined; });
    if (!isWhole) refuse("malformed");
    const life = readiness.validUntil - readiness.issuedAt;
    const isInBounds = isWord(readiness.terminal, 32) && isPlain(readiness.site, 96) && isWord(readiness.program, 32) &&
      life >= BigInt(1) && life <= BigInt(LIFE_S_MAX) &&
      readiness.openFaults.every(function (fault) { return isWord(fault, 48); });
    if (!isInBounds) refuse("malformed");
    return readiness;
  }

  function verify(text, keys, nowS) {
    if (utf8Length(text) > TEXT_BYTES_MAX) refuse("too-long");
    const trimmed = text.replace(/^[\t\n\f\r ]+/, "").replace(/[\t\n\f\r ]+$/, "");
    if (trimmed.slice(0, PREFIX.length) !== PREFIX) refuse("malformed");
    const message = readMessage(fromBase45(trimmed.slice(PREFIX.length)));
    const readiness = readReadiness(message.payload);
    const unknown = { terminal: readiness.terminal, keyId: message.keyId };
    const key = keys
      .filter(function (entry) { return entry.terminal === readiness.terminal; })
      .map(function (entry) { return readKey(entry.key); })
      .filter(function (found) { return found !== null && found.id === message.keyId; })[0];
    if (key === undefined) refuse("unknown-terminal", unknown);
    if (key.algorithm.number !== message.algorithm) refuse("forged");
    const covered = [0x84, 0x6a].concat(
      bytesOf("Signature1"), head(2, message.headers.length), message.headers,
      head(2, DOMAIN.length), bytesOf(DOMAIN), head(2, message.payload.length), message.payload
    );
    if (!key.algorithm.verify(key.bytes, covered, message.signature)) refuse("forged");
    const now = BigInt(nowS);
    if (readiness.issuedAt > now + BigInt(SKEW_S_MAX)) refuse("not-yet-valid");
    if (now > readiness.validUntil) refuse("expired");
    readiness.issuedAt = Number(readiness.issuedAt);
    readiness.validUntil = Number(readiness.validUntil);
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
    hex: hex,
  };
})();
