/**
 * Activations that generated and hand-written kernels share. The exponent is clamped so that no intermediate overflows, which
 * WGSL leaves undefined; erf is rational (Abramowitz and Stegun 7.1.26, below 5e-7 absolute).
 */
export const activationWgsl = /* wgsl */ `
fn silu(x: f32) -> f32 { return x / (1.0 + exp(min(-x, 80.0))); }
fn erfApprox(x: f32) -> f32 {
  let a = abs(x);
  let t = 1.0 / (1.0 + 0.3275911 * a);
  let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return sign(x) * (1.0 - p * exp(-min(a * a, 80.0)));
}
fn gelu(x: f32) -> f32 { return 0.5 * x * (1.0 + erfApprox(x * 0.70710678)); }
fn geluTanh(x: f32) -> f32 {
  return 0.5 * x * (1.0 + tanh(clamp(0.79788456 * (x + 0.044715 * x * x * x), -20.0, 20.0)));
}
`;
