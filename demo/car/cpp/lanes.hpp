// Lane markings along the road from a lane byte mask, one curve each. The same numbers, to a
// rounding, as perception/runtime/lane_rows.py, lane_curve.py and lane_instances.py for one frame.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

// A point of a marking in pixels, and the lane byte there.
struct MarkPoint {
  double x, y;
  int value;
};

using Marking = std::vector<MarkPoint>;

// The image of a marking on a flat road of constant curvature: x = a v + c + b / v, v = y - horizon.
struct LaneCurve {
  double a = 0, c = 0, b = 0, horizon = 0;
  std::array<std::array<double, 3>, 3> covariance{};

  static std::array<double, 3> terms(double v) {
    v = std::max(v, 1.0);
    return {v, 1, 1 / v};
  }
  double x(double y) const {
    const auto t = terms(y - horizon);
    return a * t[0] + c * t[1] + b * t[2];
  }
  double sigma(double y) const {
    const auto t = terms(y - horizon);
    double sum = 0;
    for (size_t i = 0; i < 3; ++i)
      for (size_t j = 0; j < 3; ++j) sum += t[i] * covariance[i][j] * t[j];
    return std::sqrt(std::max(sum, 0.0));
  }
};

struct Lane {
  LaneCurve curve;
  double near = 0, far = 0;  // rows of its ends
  int category = 0, style = 0, direction = 0;  // indices into the description's lists
  double score = 0;  // share of the rows in which the mask supports the curve
  std::string side;  // "ego left", ..., or empty

  // `count` points, evenly spaced in rows, from near to far.
  std::vector<std::array<double, 2>> points(int count = 24) const {
    std::vector<std::array<double, 2>> made;
    for (int i = 0; i < count; ++i) {
      const double y = near + (far - near) * i / (count - 1);
      made.push_back({curve.x(y), y});
    }
    return made;
  }
  double support() const { return score * (near - far); }
};

// Where the lane byte mask lies in the frame: its part without padding, and the scale to the frame.
struct MaskView {
  const uint8_t* data;
  int stride, height, width;
  double scale_x, scale_y;
  int crosswalk = -1;  // index of that category, -1: none

  uint8_t at(int x, int y) const { return data[size_t(y) * size_t(stride) + size_t(x)]; }
  // Markings along the road: not background (bit 3), not across (bit 5), no crosswalk.
  bool along(int x, int y) const {
    const int byte = at(x, y);
    return !(byte & 0x28) && (byte & 7) != crosswalk;
  }
};

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// Inverse of a symmetric positive definite matrix, by Cholesky: its scales differ by 1e10.
inline std::array<std::array<double, 3>, 3> inverse(const std::array<std::array<double, 3>, 3>& m) {
  double l[3][3] = {};
  for (size_t i = 0; i < 3; ++i)
    for (size_t j = 0; j <= i; ++j) {
      double sum = m[i][j];
      for (size_t k = 0; k < j; ++k) sum -= l[i][k] * l[j][k];
      l[i][j] = i == j ? std::sqrt(sum) : sum / l[j][j];
    }
  std::array<std::array<double, 3>, 3> made{};
  for (size_t column = 0; column < 3; ++column) {
    double v[3] = {};
    for (size_t i = 0; i < 3; ++i) {
      v[i] = i == column;
      for (size_t k = 0; k < i; ++k) v[i] -= l[i][k] * v[k];
      v[i] /= l[i][i];
    }
    for (size_t i = 3; i-- > 0;) {
      for (size_t k = i + 1; k < 3; ++k) v[i] -= l[k][i] * v[k];
      v[i] /= l[i][i];
      made[i][column] = v[i];
    }
  }
  return made;
}

// The curve of a marking: iteratively reweighted least squares (Cauchy weights), with a prior on c
// and b so that a short marking stays straight.
inline LaneCurve fit_curve(const Marking& line, std::array<double, 2> vanishing, int frame_w) {
  const double sigma = 0.0015 * frame_w, variance = sigma * sigma;
  const double prior[3] = {1e-9, std::pow(0.05 * frame_w, -2), std::pow(1e-3 * frame_w * frame_w, -2)};
  std::vector<double> weights(line.size(), 1), off(line.size());
  LaneCurve curve;
  curve.horizon = vanishing[1];
  for (int round = 0; round < 4; ++round) {
    std::array<std::array<double, 3>, 3> normal{};
    double right[3] = {0, prior[1] * vanishing[0], 0};
    for (size_t n = 0; n < line.size(); ++n) {
      const auto t = LaneCurve::terms(line[n].y - curve.horizon);
      for (size_t i = 0; i < 3; ++i) {
        const double scaled = t[i] * weights[n] / variance;
        right[i] += scaled * line[n].x;
        for (size_t j = 0; j < 3; ++j) normal[i][j] += scaled * t[j];
      }
    }
    for (size_t i = 0; i < 3; ++i) normal[i][i] += prior[i];
    curve.covariance = inverse(normal);
    double found[3] = {};
    for (size_t i = 0; i < 3; ++i)
      for (size_t j = 0; j < 3; ++j) found[i] += curve.covariance[i][j] * right[j];
    curve.a = found[0], curve.c = found[1], curve.b = found[2];
    for (size_t n = 0; n < line.size(); ++n) off[n] = std::abs(curve.x(line[n].y) - line[n].x);
    const double scale = std::max(2 * sigma, 1.5 * median(off));
    for (size_t n = 0; n < line.size(); ++n)
      weights[n] = 1 / (1 + (off[n] / scale) * (off[n] / scale));
  }
  return curve;
}

// Column that a marking is expected at in row y: along its last points, or towards the vanishing
// point.
inline double expected(const Marking& line, int y, std::array<double, 2> vanishing) {
  const MarkPoint& last = line.back();
  if (line.size() < 4) {
    const double share = (last.y - y) / std::max(last.y - vanishing[1], 1.0);
    return last.x + (vanishing[0] - last.x) * share;
  }
  const MarkPoint& before = line[line.size() - std::min<size_t>(line.size(), 8)];
  return last.x + (last.x - before.x) * (y - last.y) / (last.y - before.y);
}

// The markings of a mask, in its pixels, followed row by row from the bottom up.
inline std::vector<Marking> follow_rows(const MaskView& mask, std::array<double, 2> vanishing) {
  struct Pair {
    double off;
    size_t run, line;
  };
  std::vector<Marking> ended, open;
  const int top = std::max(int(vanishing[1]) + 3, 0);
  for (int y = mask.height - 1; y > top; y -= 2) {
    std::vector<double> centres;
    for (int x = 0; x < mask.width;) {
      const int start = x;
      while (x < mask.width && mask.along(x, y)) ++x;
      // A run that is cut off by the frame's edge has its centre elsewhere; a long one is across.
      if (x > start && start > 0 && x < mask.width && x - start <= 0.14 * mask.width)
        centres.push_back((start + x - 1) / 2.0);
      if (x == start) ++x;
    }
    const double gone = std::max(8.0, 0.4 * (y - vanishing[1]));
    const auto split = std::stable_partition(open.begin(), open.end(), [&](const Marking& line) {
      return line.back().y - y <= gone;
    });
    ended.insert(ended.end(), split, open.end());
    open.erase(split, open.end());
    std::vector<Pair> pairs;
    for (size_t i = 0; i < centres.size(); ++i)
      for (size_t j = 0; j < open.size(); ++j) {
        const double reach = std::max(2.5, 0.006 * mask.width) + 0.4 * (open[j].back().y - y) / 2;
        const double off = std::abs(centres[i] - expected(open[j], y, vanishing)) / reach;
        if (off <= 1) pairs.push_back({off, i, j});
      }
    std::stable_sort(pairs.begin(), pairs.end(),
                     [](const Pair& one, const Pair& other) { return one.off < other.off; });
    std::vector<size_t> taken(centres.size(), open.size());
    std::set<size_t> used;
    for (const Pair& pair : pairs)
      if (taken[pair.run] == open.size() && used.insert(pair.line).second)
        taken[pair.run] = pair.line;
    const size_t before = open.size();
    for (size_t i = 0; i < centres.size(); ++i) {
      if (taken[i] == before) open.emplace_back();
      Marking& line = taken[i] == before ? open.back() : open[taken[i]];
      line.push_back({centres[i], double(y), mask.at(int(std::nearbyint(centres[i])), y)});
    }
  }
  ended.insert(ended.end(), open.begin(), open.end());
  ended.erase(std::remove_if(ended.begin(), ended.end(),
                             [](const Marking& line) { return line.size() < 6; }),
              ended.end());
  return ended;
}

// Fragments on the curve of a longer marking, in other rows, are added to it.
inline std::vector<Marking> merged(std::vector<Marking> left, std::array<double, 2> vanishing,
                                   int frame_w) {
  std::stable_sort(left.begin(), left.end(), [](const Marking& one, const Marking& other) {
    return one.size() > other.size();
  });
  std::vector<Marking> made;
  while (!left.empty()) {
    Marking line = left.front();
    const LaneCurve curve = fit_curve(line, vanishing, frame_w);
    std::vector<Marking> rest;
    for (size_t i = 1; i < left.size(); ++i) {
      std::set<double> rows;
      for (const MarkPoint& point : line) rows.insert(point.y);
      double overlap = 0, on_curve = 0;
      for (const MarkPoint& point : left[i]) {
        const double reach = std::max(0.006 * frame_w, 2 * curve.sigma(point.y));
        overlap += double(rows.count(point.y));
        on_curve += std::abs(curve.x(point.y) - point.x) < reach;
      }
      const double count = double(left[i].size());
      if (overlap / count < 0.3 && on_curve / count > 0.7)
        line.insert(line.end(), left[i].begin(), left[i].end());
      else
        rest.push_back(left[i]);
    }
    made.push_back(line);
    left = rest;
  }
  return made;
}

// The most frequent value of some bits of the lane byte.
inline int most_frequent(const std::vector<int>& values, int shift, int bits) {
  std::array<int, 8> counts{};
  for (int value : values) ++counts[size_t((value >> shift) & bits)];
  return int(std::max_element(counts.begin(), counts.end()) - counts.begin());
}

// Names the own lane's borders and their neighbours; the lanes come from left to right.
inline void assign_sides(std::vector<Lane>& lanes, int kerb_category) {
  for (const int sign : {-1, 1}) {
    const std::string side = sign < 0 ? " left" : " right";
    double reach = 0;
    int lines = 0;
    bool kerb = false;
    for (size_t n = 0; n < lanes.size(); ++n) {
      Lane& lane = lanes[sign < 0 ? lanes.size() - 1 - n : n];
      const double offset = sign * lane.curve.a;  // in camera heights
      if (offset <= 0) continue;
      if (lane.category == kerb_category) {
        if (!kerb) lane.side = "kerb" + side;
        kerb = true;
      } else if (lines < 2 && offset - reach <= 3.0 && !kerb) {
        if (lines && offset - reach < 1.2) continue;
        lane.side = (lines ? "next" : "ego") + side;
        reach = offset, ++lines;
      }
    }
  }
}

// The markings along the road, from left to right. `vanishing` is the camera's, in frame pixels.
inline std::vector<Lane> find_lanes(const MaskView& mask, std::array<double, 2> vanishing,
                                    int frame_h, int frame_w, int kerb_category) {
  std::vector<Marking> lines = follow_rows(
      mask, {vanishing[0] / mask.scale_x - 0.5, vanishing[1] / mask.scale_y - 0.5});
  for (Marking& line : lines)
    for (MarkPoint& point : line) {
      point.x = (point.x + 0.5) * mask.scale_x;
      point.y = (point.y + 0.5) * mask.scale_y;
    }
  std::vector<Lane> found;
  for (const Marking& line : merged(lines, vanishing, frame_w)) {
    Lane lane;
    lane.curve = fit_curve(line, vanishing, frame_w);
    std::set<double> rows;
    std::vector<int> values;
    for (const MarkPoint& point : line)
      if (std::abs(lane.curve.x(point.y) - point.x) <= std::max(2.5, 0.006 * frame_w)) {
        rows.insert(point.y);
        values.push_back(point.value);
      }
    if (values.size() < 5) continue;
    lane.near = *rows.rbegin(), lane.far = *rows.begin();
    const double span = lane.near - lane.far, step = 2 * mask.scale_y;
    lane.score = std::min(1.0, double(rows.size()) / (span / step + 1));
    // What does not run towards the vanishing point is no marking: a reflection, a stop line.
    const bool ahead = std::abs(lane.curve.c - vanishing[0]) <= 0.1 * frame_w;
    const bool certain = std::sqrt(lane.curve.covariance[0][0]) < 0.35;
    if (span < 0.06 * frame_h || !ahead || !certain || lane.score < 0.35) continue;
    lane.category = most_frequent(values, 0, 7);
    lane.style = most_frequent(values, 4, 1);
    lane.direction = most_frequent(values, 5, 1);
    found.push_back(lane);
  }
  // Of two parallel stripes of one marking the better supported one.
  std::stable_sort(found.begin(), found.end(), [](const Lane& one, const Lane& other) {
    return one.support() > other.support();
  });
  std::vector<Lane> kept;
  for (const Lane& lane : found)
    if (std::all_of(kept.begin(), kept.end(), [&](const Lane& other) {
          return std::abs(lane.curve.a - other.curve.a) >= 0.25;
        }))
      kept.push_back(lane);
  std::stable_sort(kept.begin(), kept.end(), [](const Lane& one, const Lane& other) {
    return one.curve.a < other.curve.a;
  });
  assign_sides(kept, kerb_category);
  return kept;
}
