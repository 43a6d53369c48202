/**
 * The root of every error that Forerun throws on purpose. A message says what was expected, what came, and what to do next;
 * `code` is stable and meant for programs.
 */
export class ForerunError extends Error {
  /** Stable identifier of the kind of error, such as `shape` or `device-lost`. */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** A tensor, weight or state has another shape than the operation can take. */
export class ShapeError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('shape', message, options);
  }
}

/** A value has another dtype or weight format than the operation can take. */
export class DTypeError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('dtype', message, options);
  }
}

/** An argument is outside of what a function accepts. */
export class ArgumentError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('argument', message, options);
  }
}

/** WebGPU is missing, or no adapter fits what was asked for. */
export class AdapterError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('adapter', message, options);
  }
}

/** The device lacks an optional feature that was asked for. */
export class MissingFeatureError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('missing-feature', message, options);
  }
}

/** What was asked for does not fit the device's limits; nothing was allocated. The message names the numbers. */
export class DeviceLimitError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('device-limit', message, options);
  }
}

/** The device was lost (driver reset, page in the background too long, or destroyed). Ask for a new device and load again. */
export class DeviceLostError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('device-lost', message, options);
  }
}

/** The device had no memory left for a buffer. */
export class OutOfMemoryError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('out-of-memory', message, options);
  }
}

/** WebGPU refused a shader or a command: a defect of a kernel or of the driver, never of the caller's data. */
export class GpuValidationError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('gpu-validation', message, options);
  }
}

/** The caller's `AbortSignal` fired; `cause` is the signal's reason. What was opened for the call is closed. */
export class AbortedError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('aborted', message, options);
  }
}
