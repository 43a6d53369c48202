import * as library from '@huggingface/jinja';

// The part of `@huggingface/jinja` that is used here; the package's own declarations do not resolve under Node's module rules.

/** A parsed template. */
export interface JinjaProgram {
  readonly body: readonly object[];
}

/** What an expression or block comes to. */
export interface JinjaValue {
  readonly type: string;
  readonly value: unknown;
}

/** Variables of a scope. */
export interface JinjaEnvironment {
  set(name: string, value: unknown): unknown;
}

interface JinjaInterpreter {
  run(program: JinjaProgram): JinjaValue;
  /** Called for every node of the program. */
  evaluate(node: object | undefined, environment: JinjaEnvironment): JinjaValue;
}

/** Evaluates a program; `evaluate` can be overridden to watch each step. */
export const Interpreter = library.Interpreter as unknown as new (environment: JinjaEnvironment) => JinjaInterpreter;

/** Makes an empty scope. */
export const createEnvironment = (): JinjaEnvironment =>
  new (library.Environment as unknown as new () => JinjaEnvironment)();

/** Parses a chat template with the white-space rules of transformers. */
export const parseTemplate = (text: string): JinjaProgram =>
  new (library.Template as unknown as new (text: string) => { parsed: JinjaProgram })(text).parsed;
