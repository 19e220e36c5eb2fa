// The check of arguments, the reader, and the canonical form. Equality with the server's digests is tested from pytest.
import assert from "node:assert/strict";
import { test } from "node:test";
import { dumps, loads, snapshot } from "../node_modules/@sagahold/client/dist/canonical-json.js";

const bytes = (text) => new TextEncoder().encode(text);
const deep = [];
deep.push(deep);
class Order {}

for (const [value, place] of [
  [undefined, "argument a is a undefined, which is not JSON: leave it out, or pass null"],
  [[1, undefined], "argument a[1] is a undefined"],
  [new Array(2), "argument a[0] is a undefined"],
  [{ b: [1, { c: new Set() }] }, "argument a.b[1].c is a Set"],
  [new Date(0), "argument a is a Date"],
  [new Order(), "argument a is a Order"],
  [new Uint8Array(2), "argument a is a Uint8Array"],
  [new String("x"), "argument a is a String"],
  [() => 1, "argument a is a function"],
  [Symbol("x"), "argument a is a symbol"],
  [5n, "argument a is a bigint, which is not JSON: pass it as a string"],
  [NaN, "argument a is NaN"],
  [[Infinity], "argument a[0] is Infinity"],
  [2 ** 53, "argument a is an integer beyond 2^53-1"],
  ["\ud800", "argument a contains NUL or a lone surrogate"],
  [{ "x\0": 1 }, "argument a (a name) contains NUL"],
  [JSON.parse('{"__proto__": 1}'), "argument a has the name __proto__"],
  [deep, "is nested deeper than 64 levels"],
]) {
  test(`what is not JSON is named with its place: ${place}`, () => {
    const isTypeError = (error) => error instanceof TypeError && error.message.includes(place);
    assert.throws(() => snapshot(value, "argument a"), isTypeError);
  });
}

test("a snapshot is deep, and leaves out what is undefined", () => {
  const value = { a: [1.5, -0, true, null, "😀"], b: undefined, toJSON: undefined };
  const copied = snapshot(value, "argument");
  value.a.push("later");
  assert.deepEqual(copied, { a: [1.5, 0, true, null, "😀"] });
});

test("a property is read once", () => {
  let reads = 0;
  const value = { get cents() { return (reads += 1); } };
  assert.deepEqual(snapshot(value, "argument"), { cents: 1 });
});

const DEEP = "[".repeat(200) + "]".repeat(200);
const TWICE = ['{"a":1,"a":2}', '[{"\\u0061":1,"a":[{}]}]'];
for (const text of ["", "<html>", ...TWICE, "[NaN]", "[1e999]", "[-1e999]", DEEP]) {
  test(`the reader is strict: ${text.slice(0, 30)}`, () => {
    assert.throws(() => loads(bytes(text)), SyntaxError);
  });
}

test("the reader refuses bytes that are not UTF-8", () => {
  assert.throws(() => loads(new Uint8Array([34, 255, 34])), SyntaxError);
});

test("the reader reads equal names of different objects, and texts that look like syntax", () => {
  const text = '{"a":{"a":"}{\\":\\"a"},"b":[{"a":1},{"a":2}],"\\"a\\":":"a"}';
  assert.deepEqual(loads(bytes(text)), JSON.parse(text));
});

test("the example of RFC 8785", () => {
  const numbers = [333333333.33333329, 1e30, 4.5, 2e-3, 0.000000000000000000000000001];
  const value = { numbers, string: "€$\x0f\nA'B\"\\" };
  const expected = '{"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\"}';
  assert.equal(dumps(value), expected);
});
