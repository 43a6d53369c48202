/** Runs in Deno: prints the name of the adapter it finds. */
const adapter = await navigator.gpu.requestAdapter();
console.log(adapter?.info.description ?? 'none');
