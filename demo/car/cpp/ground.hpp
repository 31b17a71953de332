// A pinhole camera over a flat road, and the distances of road users. The same numbers, to a
// rounding, as perception/runtime/camera.py and distance.py, for a lens without distortion.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

// A point on the road in metres: to the right of the camera, and ahead of it.
struct Ground {
  double right = not_known, forward = not_known;
};

// Focal lengths and principal point in pixels of the frame, metres over the road, angles in
// radians: pitch is positive when the camera looks down, roll when it turns clockwise as seen from
// behind, yaw when it looks to the right of the driving direction.
struct Camera {
  double fx, fy, cx, cy, height, pitch = 0, roll = 0, yaw = 0;
  // Standard deviations: of angles in radians, of the others as a share of the value.
  double sigma_pitch = 0.003, sigma_yaw = 0.005, sigma_roll = 0.005;
  double sigma_focal = 0.01, sigma_height = 0.03;

  static constexpr double max_forward = 250;
  // Standard deviation of a road's vertical curvature, 1/m.
  static constexpr double ground_curvature = 1e-4;

  // Camera axes (x right, y down, z forward) to those of the vehicle (x right, y up, z forward).
  std::array<std::array<double, 3>, 3> rotation() const {
    const double cp = std::cos(pitch), sp = std::sin(pitch), cr = std::cos(roll);
    const double sr = std::sin(roll), cw = std::cos(yaw), sw = std::sin(yaw);
    const double tilted[3][3] = {{cr, -sr, 0}, {-cp * sr, -cp * cr, -sp}, {-sp * sr, -sp * cr, cp}};
    std::array<std::array<double, 3>, 3> made{};
    for (size_t j = 0; j < 3; ++j) {
      made[0][j] = cw * tilted[0][j] + sw * tilted[2][j];
      made[1][j] = tilted[1][j];
      made[2][j] = -sw * tilted[0][j] + cw * tilted[2][j];
    }
    return made;
  }

  // Pixel of the direction straight ahead of the vehicle.
  std::array<double, 2> vanishing() const {
    const auto ahead = rotation()[2];
    return {ahead[0] / ahead[2] * fx + cx, ahead[1] / ahead[2] * fy + cy};
  }

  // The point on the road at a pixel; not known on and above the horizon and far away.
  Ground ground(double x, double y) const {
    const auto turn = rotation();
    const double ray[3] = {(x - cx) / fx, (y - cy) / fy, 1};
    double world[3] = {};
    for (size_t i = 0; i < 3; ++i)
      for (size_t j = 0; j < 3; ++j) world[i] += turn[i][j] * ray[j];
    if (!(world[1] < 0)) return {};
    const double scale = height / std::max(-world[1], 1e-9), forward = scale * world[2];
    if (!(forward > 0 && forward <= max_forward)) return {};
    return {scale * world[0], forward};
  }

  // Standard deviation of the distance of a point at this column as a share of it; `row_sigma` is
  // that of its row in pixels.
  double relative_sigma(double forward, double column, double row_sigma) const {
    const double rows = fy * height / forward, tilt = (column - cx) * sigma_roll;
    const double row = std::hypot(std::hypot(row_sigma, fy * sigma_pitch), tilt);
    const double bump = 0.5 * ground_curvature * forward * forward / height;
    return std::sqrt(row * row / (rows * rows) + bump * bump + sigma_focal * sigma_focal +
                     sigma_height * sigma_height);
  }
};

// A detection in pixels of the frame.
struct Box {
  double x1, y1, x2, y2, score;
  std::string name;
};

// Of a box; not known where the geometry does not support a number.
struct Range {
  double distance = not_known, distance_sigma = not_known;
  double offset = not_known, offset_sigma = not_known;
};

// Width in metres of a vehicle as seen from behind; infinite where it is not one of these.
inline double usual_width(const std::string& name) {
  if (name == "car") return 1.8;
  if (name == "truck" || name == "bus") return 2.5;
  return name == "train" ? 2.6 : std::numeric_limits<double>::infinity();
}

// Column and row of where a box stands on the road: the middle of the side that faces the camera.
// The row of a rider is that of the two-wheeler below; not known without one.
inline std::array<double, 2> foot_point(const Box& box, const std::vector<Box>& boxes,
                                        const Camera& camera) {
  static const std::set<std::string> two_wheelers = {"motorcycle", "motorbike", "bicycle"};
  const auto ahead = camera.vanishing();
  const double wide = box.x2 - box.x1, middle = (box.x1 + box.x2) / 2;
  const double seen = usual_width(box.name) * std::max(box.y2 - ahead[1], 1.0) / camera.height;
  const double half = std::min(seen, wide) / 2;
  // A box wider than that side shows the flank as well, on the side of the vanishing point.
  const double x = box.x1 > ahead[0] ? box.x2 - half : box.x2 < ahead[0] ? box.x1 + half : middle;
  if (box.name != "rider") return {x, box.y2};
  double y = not_known;
  for (const Box& other : boxes) {
    const double overlap = std::min(box.x2, other.x2) - std::max(box.x1, other.x1);
    if (two_wheelers.count(other.name) && overlap > 0.5 * wide && other.y1 < box.y2)
      y = std::isnan(y) ? other.y2 : std::max(y, other.y2);
  }
  return {x, y};
}

// Distance and offset of every box, in order.
inline std::vector<Range> ranges(const std::vector<Box>& boxes, const Camera& camera, int frame_h,
                                 int frame_w) {
  static const std::set<std::string> road_users = {
      "motorcycle", "motorbike", "bicycle", "car", "truck", "bus", "train",
      "pedestrian", "person", "rider"};
  const double edge = 2.0 / 384 * frame_h;  // a box this near to an edge is cut off
  std::vector<Range> found(boxes.size());
  for (size_t i = 0; i < boxes.size(); ++i) {
    const Box& box = boxes[i];
    const bool cut = box.x1 <= edge || box.x2 >= frame_w - edge || box.y2 >= frame_h - edge;
    if (cut || !road_users.count(box.name)) continue;
    const auto foot = foot_point(box, boxes, camera);
    const Ground ground = camera.ground(foot[0], foot[1]);
    const double row_sigma = std::hypot(0.015 * (box.y2 - box.y1), frame_h / 384.0);
    const double sigma = camera.relative_sigma(ground.forward, foot[0], row_sigma);
    if (!(sigma <= 0.5)) continue;  // too uncertain, or no point on the road
    const double side = ground.forward * std::hypot(row_sigma / camera.fx, camera.sigma_yaw);
    found[i] = {ground.forward, sigma * ground.forward, ground.right,
                std::hypot(sigma * ground.right, side)};
  }
  return found;
}
