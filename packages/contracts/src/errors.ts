import { ForerunError } from '@forerun/tensor';

/** The prompt, or prompt plus requested tokens, does not fit the conversation's capacity. */
export class CapacityError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('capacity', message, options);
  }
}

/** A target, drafter or verifier cannot be used with another. */
export class MismatchedPartsError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('mismatched-parts', message, options);
  }
}

/** A conversation was used while it was generating, or after it was closed. */
export class ConversationStateError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('conversation-state', message, options);
  }
}

/** The device computed something that is not a number where a token had to be chosen. */
export class NumericError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('numeric', message, options);
  }
}
