/**
 * Top-k, top-p and min-p as one threshold on the ordered key of a logit, found exactly: a radix search of four passes over 8 bits
 * each, with integer histograms, so that no order of additions matters. Probabilities count in fixed point, 2^31 for the most likely
 * token, in 64-bit sums of two words.
 */
export const filterWgsl = (vocabSize: number, lanes: number) => /* wgsl */ `
var<workgroup> binLow: array<atomic<u32>, 256>;
var<workgroup> binHigh: array<atomic<u32>, 256>;
var<workgroup> groupLow: array<u32, 16>;
var<workgroup> groupHigh: array<u32, 16>;
var<workgroup> wantedLow: u32;
var<workgroup> wantedHigh: u32;
var<workgroup> prefix: u32;
var<workgroup> threshold: u32;
var<workgroup> exhausted: u32;

fn keyValue(key: u32) -> f32 { return bitcast<f32>(select(~key, key & 0x7fffffffu, (key & 0x80000000u) != 0u)); }
fn relativeMass(key: u32, top: f32) -> f32 {
  return exp(max((keyValue(key) - top) / max(temperature(), 1.0e-6), -80.0));
}
fn fixedMass(key: u32, top: f32) -> u32 { return u32(fma(relativeMass(key, top), 2147483648.0, 0.5)); }

fn sum64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}
fn difference64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return vec2<u32>(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x)); }
fn reaches64(a: vec2<u32>, b: vec2<u32>) -> bool { return a.y > b.y || (a.y == b.y && a.x >= b.x); }

fn addToBin(bin: u32, amount: vec2<u32>) {
  let old = atomicAdd(&binLow[bin], amount.x);
  let high = amount.y + select(0u, 1u, old + amount.x < old);
  if (high != 0u) { atomicAdd(&binHigh[bin], high); }
}
fn binSum(bin: u32) -> vec2<u32> { return vec2<u32>(atomicLoad(&binLow[bin]), atomicLoad(&binHigh[bin])); }

// topP of a sum, rounded up: topP has 32 fractional bits.
fn wantedMass(total: vec2<u32>) -> vec2<u32> {
  let share = u32(topP() * 4294967296.0);
  let low = vec2<u32>(multiplyHigh(total.x, share), 0u);
  let high = vec2<u32>(total.y * share, multiplyHigh(total.y, share));
  return sum64(sum64(low, high), vec2<u32>(select(0u, 1u, total.x * share != 0u), 0u));
}

// Raises the threshold to the largest key at or above which enough lies: topK tokens, or topP of the mass.
fn raiseThreshold(row: u32, lane: u32, byMass: bool) {
  let top = keyValue(atomicLoad(&topKey));
  let floorKey = max(threshold, 1u);
  for (var pass_ = 0u; pass_ < 4u; pass_++) {
    let shift = 24u - 8u * pass_;
    for (var bin = lane; bin < 256u; bin += ${lanes}u) {
      atomicStore(&binLow[bin], 0u);
      atomicStore(&binHigh[bin], 0u);
    }
    workgroupBarrier();
    var run = 0u;
    var sum = vec2<u32>(0u);
    for (var token = lane; token < ${vocabSize}u; token += ${lanes}u) {
      let key = orderedKey(logitBits(row, token));
      if (key < floorKey) { continue; }
      if (pass_ > 0u && (key >> (shift + 8u)) != prefix) { continue; }
      let bin = (key >> shift) & 255u;
      if (bin != run) {
        if (sum.x != 0u || sum.y != 0u) { addToBin(run, sum); }
        run = bin;
        sum = vec2<u32>(0u);
      }
      var amount = 1u;
      if (byMass) { amount = fixedMass(key, top); }
      sum = sum64(sum, vec2<u32>(amount, 0u));
    }
    if (sum.x != 0u || sum.y != 0u) { addToBin(run, sum); }
    workgroupBarrier();
    for (var group = lane; group < 16u; group += ${lanes}u) {
      var total = vec2<u32>(0u);
      for (var i = 0u; i < 16u; i++) { total = sum64(total, binSum(group * 16u + i)); }
      groupLow[group] = total.x;
      groupHigh[group] = total.y;
    }
    workgroupBarrier();
    if (lane == 0u) { descend(pass_, byMass); }
    workgroupBarrier();
  }
  if (lane == 0u && exhausted == 0u) { threshold = max(threshold, prefix); }
  workgroupBarrier();
}

// Walks the bins from the top to the one in which the wanted sum is reached, and goes into it.
fn descend(pass_: u32, byMass: bool) {
  if (pass_ == 0u) {
    prefix = 0u;
    var total = vec2<u32>(0u);
    for (var i = 0u; i < 16u; i++) { total = sum64(total, vec2<u32>(groupLow[i], groupHigh[i])); }
    var goal = vec2<u32>(topK(), 0u);
    if (byMass) { goal = wantedMass(total); }
    exhausted = select(1u, 0u, reaches64(total, goal));
    wantedLow = goal.x;
    wantedHigh = goal.y;
  }
  var wanted = vec2<u32>(wantedLow, wantedHigh);
  var group = 15u;
  for (; group > 0u; group--) {
    let sum = vec2<u32>(groupLow[group], groupHigh[group]);
    if (reaches64(sum, wanted)) { break; }
    wanted = difference64(wanted, sum);
  }
  var bin = group * 16u + 15u;
  for (; bin > group * 16u; bin--) {
    let sum = binSum(bin);
    if (reaches64(sum, wanted)) { break; }
    wanted = difference64(wanted, sum);
  }
  wantedLow = wanted.x;
  wantedHigh = wanted.y;
  prefix = (prefix << 8u) | bin;
}

// Finds the support's lowest key.
fn findSupport(row: u32, lane: u32) {
  if (topK() > 0u) { raiseThreshold(row, lane, false); }
  if (usesTopP()) { raiseThreshold(row, lane, true); }
}
fn isKept(key: u32, top: f32) -> bool { return key >= max(threshold, 1u) && relativeMass(key, top) >= minP(); }
`;

/** WGSL of `drawFromSupport(row, lane, position)`: the best score `z / T + gumbel` of the tokens that the filters left. */
export const drawWgsl = (vocabSize: number, lanes: number) => /* wgsl */ `
fn drawFromSupport(row: u32, lane: u32, position: u32) {
  findSupport(row, lane);
  let top = keyValue(atomicLoad(&topKey));
  let inverse = 1.0 / max(temperature(), 1.0e-6);
  if (lane == 0u) { atomicStore(&bestKey, 0u); }
  workgroupBarrier();
  var laneKey = 0u;
  var laneToken = 0xffffffffu;
  for (var block = lane; block < ${Math.ceil(vocabSize / 4)}u; block += ${lanes}u) {
    var words = vec4<u32>(0u);
    var drawn = false;
    for (var k = 0u; k < 4u; k++) {
      let token = block * 4u + k;
      if (token >= ${vocabSize}u) { break; }
      let key = orderedKey(logitBits(row, token));
      if (!isKept(key, top)) { continue; }
      if (!drawn) {
        words = noiseBlock(block, position);
        drawn = true;
      }
      let score = orderedKey(bitcast<u32>(fma(keyValue(key), inverse, gumbelOf(words[k]))));
      if (score > laneKey) {
        laneKey = score;
        laneToken = token;
      }
    }
  }
  atomicMax(&bestKey, laneKey);
  workgroupBarrier();
  if (laneKey == atomicLoad(&bestKey)) { atomicMax(&bestToken, ~laneToken); }
}
`;
