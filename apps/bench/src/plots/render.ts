import * as vega from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';

/** A chart as an SVG file. */
export async function svgOf(chart: TopLevelSpec): Promise<string> {
  const { spec } = compile({ background: 'white', ...chart });
  const view = new vega.View(vega.parse(spec), { renderer: 'none' });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}
