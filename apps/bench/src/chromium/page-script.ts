/** The page's script with the library in it. In a bundle of this app the text stands in place of this file. */
export async function pageScript(): Promise<string> {
  const bundler = new URL('../../bundle-page.mjs', import.meta.url).href;
  const { bundlePage } = (await import(bundler)) as { bundlePage(): Promise<string> };
  return bundlePage();
}
