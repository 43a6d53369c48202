import * as library from '@huggingface/tokenizers';

/** The part of `@huggingface/tokenizers` that is used here; the package's own declarations do not resolve under Node's module rules. */
export interface HubTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { readonly ids: readonly unknown[] };
  token_to_id(text: string): number | undefined;
  id_to_token(id: number): string | undefined;
  get_added_tokens_decoder(): ReadonlyMap<number, { readonly content: string; readonly special: boolean }>;
  get_vocab(): ReadonlyMap<string, number>;
}

/** Builds the library's tokenizer; throws plain errors for a file that it cannot use. */
export const createHubTokenizer = (tokenizerJson: object, config: object): HubTokenizer =>
  new (library.Tokenizer as new (tokenizer: object, config: object) => HubTokenizer)(tokenizerJson, config);
