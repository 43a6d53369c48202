/** First bytes of a sealed blob. */
const mark = new TextEncoder().encode('FRB1');

const digestBytes = 32;
const headBytes = mark.length + 2 * digestBytes;

/** SHA-256. */
export async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await globalThis.crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>));
}

/** First 16 bytes of the SHA-256 of a text, in hexadecimal. */
export async function textKey(text: string): Promise<string> {
  const digest = await sha256(new TextEncoder().encode(text));
  return Array.from(digest.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** `payload` as it is stored under `key`: a mark, the SHA-256 of all that follows, the key's own digest, the payload. */
export async function seal(key: string, payload: Uint8Array): Promise<Uint8Array> {
  const sealed = new Uint8Array(headBytes + payload.length);
  sealed.set(mark);
  sealed.set(await sha256(new TextEncoder().encode(key)), mark.length + digestBytes);
  sealed.set(payload, headBytes);
  sealed.set(await sha256(sealed.subarray(mark.length + digestBytes)), mark.length);
  return sealed;
}

/** What was sealed; undefined when the blob is damaged, belongs to another key, or does not have `expectedBytes` (where given). */
export async function unseal(key: string, sealed: Uint8Array, expectedBytes?: number): Promise<Uint8Array | undefined> {
  if (sealed.length < headBytes || !sameBytes(sealed.subarray(0, mark.length), mark)) return undefined;
  if (expectedBytes !== undefined && sealed.length - headBytes !== expectedBytes) return undefined;
  const digested = sealed.subarray(mark.length + digestBytes);
  if (!sameBytes(await sha256(digested), sealed.subarray(mark.length, mark.length + digestBytes))) return undefined;
  const keyDigest = await sha256(new TextEncoder().encode(key));
  return sameBytes(keyDigest, digested.subarray(0, digestBytes)) ? sealed.subarray(headBytes) : undefined;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
